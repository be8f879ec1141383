# The ROS 2 wheels on PyPI export paths of the machine that built them. Drop the include folders and
# name the libraries instead; on an apt ROS 2 there is nothing to find. Runs at the end of the
# directory, when all targets are imported.
function(page4d_repair_imported_targets)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "/opt/python/cp")
      list(FILTER folders EXCLUDE REGEX "^/opt/python/cp")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
    get_target_property(libraries ${target} INTERFACE_LINK_LIBRARIES)
    if(libraries MATCHES "/usr/lib64/lib")
      string(REGEX REPLACE "/usr/lib64/lib([^/;]+)[.]so" "\\1" libraries "${libraries}")
      set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${libraries}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL page4d_repair_imported_targets)

# A virtual environment inside the checkout puts NumPy's headers below our source folder, which CMake
# refuses to export. Nobody needs them after the build.
function(page4d_keep_numpy_out_of_export)
  set(target ${PROJECT_NAME}__rosidl_generator_py)
  if(TARGET ${target})
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT folders)
      return()  # a distribution's generator keeps them private
    endif()
    list(TRANSFORM folders REPLACE "^(/.*/numpy/.*)$" "$<BUILD_INTERFACE:\\1>")
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
  endif()
endfunction()
cmake_language(DEFER CALL page4d_keep_numpy_out_of_export)
