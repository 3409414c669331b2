# The one way this project makes a library, so that flags live on targets.
#
# h5serve_add_library(NAME HEADERS … SOURCES … PUBLIC … PRIVATE … PRECOMPILE …)
# makes h5serve_NAME and the alias h5serve::NAME. PRECOMPILE are heavy headers of
# other projects that most sources include.

add_library(h5serve_flags INTERFACE)
target_include_directories(h5serve_flags INTERFACE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}")
target_compile_options(h5serve_flags INTERFACE -Wall -Wextra -Wno-unused-parameter
                                               -fno-omit-frame-pointer)
if(H5SERVE_WERROR)
  target_compile_options(h5serve_flags INTERFACE -Werror)
  # GCC 12 thinks so of every variant that is moved.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(h5serve_flags INTERFACE -Wno-error=maybe-uninitialized)
  endif()
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(h5serve_flags INTERFACE -Wthread-safety -Werror=thread-safety)
endif()
if(H5SERVE_SANITIZE)
  target_compile_options(h5serve_flags INTERFACE "-fsanitize=${H5SERVE_SANITIZE}"
                                                 -fno-sanitize-recover=all)
  target_link_options(h5serve_flags INTERFACE "-fsanitize=${H5SERVE_SANITIZE}")
endif()

# Two thirds of a compilation are headers that every source includes. Sources
# include what they use all the same; H5SERVE_PRECOMPILE=OFF shows it.
function(h5serve_precompile target)
  if(NOT H5SERVE_PRECOMPILE)
    return()
  endif()
  target_precompile_headers(
    ${target} PRIVATE <algorithm> <array> <cstdint> <functional> <map> <memory> <optional> <set>
    <span> <string> <string_view> <utility> <variant> <vector> <absl/status/statusor.h>
    <absl/synchronization/mutex.h> <absl/time/time.h> ${ARGN})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # What ccache needs to see through a precompiled header.
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()

function(h5serve_add_library name)
  cmake_parse_arguments(ARG "" "" "HEADERS;SOURCES;PUBLIC;PRIVATE;PRECOMPILE" ${ARGN})
  add_library(h5serve_${name} STATIC ${ARG_SOURCES})
  add_library(h5serve::${name} ALIAS h5serve_${name})
  target_sources(h5serve_${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}"
                                        FILES ${ARG_HEADERS})
  target_link_libraries(h5serve_${name} PUBLIC h5serve_flags ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  h5serve_precompile(h5serve_${name} ${ARG_PRECOMPILE})
endfunction()

# Compiles SOURCES once for each instruction set, with H5SERVE_ISA naming it and
# Eigen renamed, so that the linker never mixes templates of two sets.
function(h5serve_add_isa_kernels target)
  foreach(isa IN ITEMS x86_64_v2 x86_64_v3 x86_64_v4)
    string(REPLACE "x86_64_v" "x86-64-v" march ${isa})
    add_library(${target}_${isa} OBJECT ${ARGN})
    # Contraction is off in ISO mode, and errno keeps square roots scalar.
    target_compile_options(${target}_${isa} PRIVATE -march=${march} -O3 -ffp-contract=fast
                                                    -fno-math-errno)
    if(isa STREQUAL "x86_64_v4")
      target_compile_options(${target}_${isa} PRIVATE -mprefer-vector-width=512)
    endif()
    target_compile_definitions(${target}_${isa} PRIVATE H5SERVE_ISA=${isa} Eigen=Eigen_${isa})
    target_link_libraries(${target}_${isa} PRIVATE h5serve_flags Eigen3::Eigen)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${target}_${isa}>)
  endforeach()
endfunction()

# One GoogleTest executable per folder of tests/unit, one ctest per case.
function(h5serve_add_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE h5serve_flags GTest::gmock_main ${ARG_LINK})
  h5serve_precompile(${name} <gmock/gmock.h> <gtest/gtest.h>)
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60)
endfunction()
