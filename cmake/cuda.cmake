# The engines beside the CPU (docs/architecture.md): every cuda/*.cu is compiled by nvcc into namespace hashgrad::cuda, and, on
# top of the emulator, by the C++ compiler into namespace hashgrad::emu. Either arm can be left out.
option(HASHGRAD_EMULATOR "Build the CUDA kernels for the CPU, on the emulator" ON)
set(HASHGRAD_CUDA AUTO CACHE STRING "Build the CUDA kernels with nvcc: ON, OFF or AUTO (if there is an nvcc)")
set_property(CACHE HASHGRAD_CUDA PROPERTY STRINGS AUTO ON OFF)
set(architectures "75-real;80-real;90a-real;90-virtual")
if(DEFINED ENV{CUDAARCHS})  # CMake's own way to choose them from outside
  set(architectures "$ENV{CUDAARCHS}")
endif()
set(CMAKE_CUDA_ARCHITECTURES "${architectures}" CACHE STRING
    "Devices to compile for; a virtual one is translated by the driver for what comes after")

set(HASHGRAD_WITH_CUDA 0)
if(HASHGRAD_CUDA)
  find_program(HASHGRAD_NVCC nvcc HINTS $ENV{CUDACXX} ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
  if(HASHGRAD_NVCC)
    set(CMAKE_CUDA_COMPILER ${HASHGRAD_NVCC} CACHE FILEPATH "nvcc")
    enable_language(CUDA)
    if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know how to ask nvcc for C++20
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # named below instead
    set(HASHGRAD_WITH_CUDA 1)
  elseif(NOT HASHGRAD_CUDA STREQUAL AUTO)
    message(FATAL_ERROR "HASHGRAD_CUDA=ON, but there is no nvcc on the PATH or in /usr/local/cuda/bin")
  else()
    message(STATUS "No nvcc: the CUDA kernels are built for the emulator only")
  endif()
endif()
set(HASHGRAD_WITH_EMULATOR 0)
if(HASHGRAD_EMULATOR)
  set(HASHGRAD_WITH_EMULATOR 1)
endif()

# Compiles .cu files into `target`, once per engine.
function(hashgrad_add_kernels target)
  if(HASHGRAD_WITH_EMULATOR)
    foreach(source IN LISTS ARGN)  # a .cu file has one language per folder, hence the wrappers
      file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
      set(wrapper ${PROJECT_BINARY_DIR}/emulated/${name})
      string(REGEX REPLACE "\\.cu$" ".emu.cpp" wrapper ${wrapper})
      file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${source}\"\n")
      target_sources(${target} PRIVATE ${wrapper})
      set_source_files_properties(${wrapper} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endforeach()
  endif()
  if(HASHGRAD_WITH_CUDA)
    add_library(${target}_cuda OBJECT ${ARGN})
    target_include_directories(${target}_cuda PRIVATE ${PROJECT_SOURCE_DIR})
    # FMT_USE_CONSTEXPR: {fmt} 9 thinks that nvcc has no constexpr functions. The last of the options lets kernels call
    # constexpr functions of the host (core/hash.h).
    target_compile_definitions(${target}_cuda PRIVATE HASHGRAD_WITH_CUDA=1 FMT_USE_CONSTEXPR=1
                                                      HASHGRAD_WITH_EMULATOR=${HASHGRAD_WITH_EMULATOR})
    target_compile_options(${target}_cuda PRIVATE -lineinfo -Xcompiler=-Wall,-Wextra,-Wshadow,-Wno-psabi
                                                  --expt-relaxed-constexpr)
    if(HASHGRAD_WERROR)
      target_compile_options(${target}_cuda PRIVATE -Werror=all-warnings)
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_cuda>)
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX  # no need of nvcc to link
                                               CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}")
  endif()
endfunction()

file(GLOB kernel_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/*.cu)
hashgrad_add_kernels(hashgrad ${kernel_files})
# As for cpu/attack_step.cpp: a product and a sum are two roundings, so that the bits are those of the CPU.
foreach(kernel attack_step augment)
  set_source_files_properties(${PROJECT_SOURCE_DIR}/cuda/${kernel}.cu PROPERTIES COMPILE_OPTIONS --fmad=false)
  set_source_files_properties(${PROJECT_BINARY_DIR}/emulated/cuda/${kernel}.emu.cpp
                              PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
endforeach()
target_compile_definitions(hashgrad PUBLIC HASHGRAD_WITH_CUDA=${HASHGRAD_WITH_CUDA}
                                           HASHGRAD_WITH_EMULATOR=${HASHGRAD_WITH_EMULATOR})

if(HASHGRAD_WITH_EMULATOR)
  file(GLOB emulator_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/emulator/*.cpp)
  target_sources(hashgrad PRIVATE ${emulator_sources})
  set_source_files_properties(${emulator_sources} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)  # their flags may differ
  # ThreadSanitizer watches the kernels; what runs them must be invisible to it (cuda/emulator/sanitizers.h).
  if("${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize=[a-z,]*thread")
    set_source_files_properties(${emulator_sources} PROPERTIES COMPILE_OPTIONS "-fno-sanitize=thread;-DEMU_TSAN=1")
  endif()
endif()

# The CUDA runtime is linked as a static library, which needs no driver to start: without one, there is no device.
if(HASHGRAD_WITH_CUDA)
  find_library(HASHGRAD_CUDART cudart_static HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
  include(${CMAKE_CURRENT_LIST_DIR}/cudart.cmake)
  target_link_libraries(hashgrad PRIVATE hashgrad::cudart)
endif()
