# Run by cpack between the installation into its own directory and the making of the packages: puts there what Debian's
# policy wants of every package (chapters 12.5, 12.7 and 12.1) and no installation needs.
cmake_minimum_required(VERSION 3.25)
get_filename_component(source ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)
find_program(GZIP gzip REQUIRED)
find_program(STRIP strip)

# compress FILE: a gzip file without a name or a time in it takes its place.
function(compress file)
  execute_process(COMMAND ${GZIP} -9 -n -f ${file} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# The names of the folders are those of the groups in packaging/CMakeLists.txt.
set(package_of_command ${CPACK_DEBIAN_COMMAND_PACKAGE_NAME})
set(package_of_library ${CPACK_DEBIAN_LIBRARY_PACKAGE_NAME})
set(package_of_dev ${CPACK_DEBIAN_DEV_PACKAGE_NAME})
foreach(group command library dev)
  set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/${group}${CPACK_PACKAGING_INSTALL_PREFIX})
  set(doc ${root}/share/doc/${package_of_${group}})
  file(MAKE_DIRECTORY ${doc})
  file(READ ${source}/LICENSE licence)
  file(WRITE ${doc}/copyright "${licence}")
  file(COPY_FILE ${source}/packaging/deb/changelog ${doc}/changelog)
  file(CHMOD ${doc}/copyright ${doc}/changelog PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  compress(${doc}/changelog)
  file(GLOB pages ${root}/share/man/man*/*.[1-8])
  foreach(page IN LISTS pages)
    compress(${page})
  endforeach()
  file(GLOB_RECURSE archives ${root}/lib/*.a)
  if(STRIP)
    foreach(archive IN LISTS archives)
      execute_process(COMMAND ${STRIP} --strip-debug --enable-deterministic-archives ${archive}
        COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
  endif()
endforeach()
