# `cmake --install build` and then, elsewhere: find_package(hashgrad REQUIRED), target hashgrad::hashgrad.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS hashgrad EXPORT hashgrad-targets)
foreach(floor IN LISTS floors)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${floor}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hashgrad/${floor}
          FILES_MATCHING PATTERN "*.h" PATTERN "kernels" EXCLUDE)
endforeach()
install(EXPORT hashgrad-targets NAMESPACE hashgrad:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hashgrad)
if(HASHGRAD_WITH_CUDA)
  get_filename_component(HASHGRAD_CUDART_FOLDER ${HASHGRAD_CUDART} DIRECTORY)
endif()
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/hashgrad-config.cmake.in
                              ${PROJECT_BINARY_DIR}/hashgrad-config.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hashgrad)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hashgrad-config-version.cmake COMPATIBILITY SameMinorVersion)
if(HASHGRAD_WITH_CUDA)
  install(FILES ${CMAKE_CURRENT_LIST_DIR}/cudart.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hashgrad)
endif()
install(FILES ${PROJECT_BINARY_DIR}/hashgrad-config.cmake ${PROJECT_BINARY_DIR}/hashgrad-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/hashgrad)
