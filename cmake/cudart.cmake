# hashgrad::cudart, the static CUDA runtime in the file HASHGRAD_CUDART; for this build and for those who use its package.
if(NOT TARGET hashgrad::cudart)
  add_library(hashgrad::cudart STATIC IMPORTED)
  set_target_properties(hashgrad::cudart PROPERTIES IMPORTED_LOCATION ${HASHGRAD_CUDART}
                        INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};rt")
endif()
