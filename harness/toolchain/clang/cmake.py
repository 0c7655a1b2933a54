"""Builds a driver of a CMake project: with a toolchain file, and a FindWDK module, that are winvm's own.

The module has the functions of the FindWDK that driver projects use, `wdk_add_driver` and `wdk_add_library`.
Options of the toolchain: https://cmake.org/cmake/help/latest/manual/cmake-toolchains.7.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import BuildError
from harness.host.llvm import found
from harness.host.resources import wdk_folder
from harness.toolchain.clang import flags
from harness.toolchain.clang.additions import NOTHING, Additions
from harness.toolchain.clang.build_system import LAUNCHER, driver_kit, keep, run_step, take_driver
from harness.toolchain.clang.sources import is_debug

MODULE = """# Stands for FindWDK: drivers are compiled with winvm's driver kit.
set(WDK_FOUND TRUE)
set(WDK_VERSION "10.0.26100.0")
set(WDK_ROOT "${WINVM_KIT}")

foreach(library IN LISTS WINVM_LIBRARIES)
  get_filename_component(name "${library}" NAME_WE)
  string(TOUPPER "${name}" name)
  if(NOT TARGET "WDK::${name}")
    add_library("WDK::${name}" INTERFACE IMPORTED)
  endif()
endforeach()

function(wdk_add_driver target)
  cmake_parse_arguments(WDK "" "KMDF;WINVER;NTDDI_VERSION" "" ${ARGN})
  if(WDK_KMDF)
    message(WARNING "${target} uses KMDF, whose headers winvm's driver kit lacks")
  endif()
  add_executable(${target} ${WDK_UNPARSED_ARGUMENTS})
  set_target_properties(${target} PROPERTIES SUFFIX ".sys" PREFIX "" WIN32_EXECUTABLE FALSE)
  _winvm_versions(${target} "${WDK_WINVER}" "${WDK_NTDDI_VERSION}")
endfunction()

function(wdk_add_library target)
  cmake_parse_arguments(WDK "" "KMDF;WINVER;NTDDI_VERSION" "" ${ARGN})
  add_library(${target} ${WDK_UNPARSED_ARGUMENTS})
  _winvm_versions(${target} "${WDK_WINVER}" "${WDK_NTDDI_VERSION}")
endfunction()

function(_winvm_versions target winver ntddi)
  if(winver)
    target_compile_options(${target} PRIVATE "SHELL:-U _WIN32_WINNT -D _WIN32_WINNT=${winver}")
  endif()
  if(ntddi)
    target_compile_options(${target} PRIVATE "SHELL:-U NTDDI_VERSION -D NTDDI_VERSION=${ntddi}")
  endif()
endfunction()

# A project's own FindWDK may have more functions, mostly for programs beside the driver.
foreach(folder IN LISTS CMAKE_MODULE_PATH)
  if(EXISTS "${folder}/FindWDK.cmake" AND NOT folder STREQUAL CMAKE_CURRENT_LIST_DIR)
    file(STRINGS "${folder}/FindWDK.cmake" lines
      REGEX "^[ \t]*([Ff]unction|FUNCTION|[Mm]acro|MACRO)[ \t]*\\\\(")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE "^[^(]*\\\\([ \t]*([A-Za-z0-9_]+).*" "\\\\1" name "${line}")
      if(name MATCHES "^[A-Za-z0-9_]+$" AND NOT COMMAND "${name}")
        message(STATUS "calls of ${name} are left out: ${folder}/FindWDK.cmake is not used")
        cmake_language(EVAL CODE "function(${name})\nendfunction()")
      endif()
    endforeach()
  endif()
endforeach()
"""


def build_cmake(folder: Path, name: str, build: str, output: Path, added: Additions = NOTHING) -> Path:
    """Configures and builds a CMake project, and returns `<name>.sys` in `output`, its PDB beside it.

    Args:
        folder: of the CMakeLists.txt.
        name: of the target, whose file is `<name>.sys`.
        build: a debug build for `debug` or `checked`, else a release build.
        added: what an instrumented build adds.

    Raises:
        BuildError: CMake fails, or makes no such driver; `detail` has the first errors.
        HostError: a tool is missing.
    """
    output, folder = output.resolve(), folder.resolve()
    tree = output / "cmake"
    kind = "Debug" if is_debug(build) else "Release"
    toolchain = _write_toolchain(folder, output, kind == "Debug", added)
    configure = ["cmake", "-S", str(folder), "-B", str(tree), "-G", "Ninja", f"-DCMAKE_BUILD_TYPE={kind}"]
    configure += [f"-DCMAKE_TOOLCHAIN_FILE={toolchain}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    for argv in (configure, ["cmake", "--build", str(tree), "--target", name]):
        run_step(argv, folder, f"The {build} build of {name} by CMake", output / "errors.txt")
    driver = take_driver(tree, name, output)
    if driver is None:
        raise BuildError(
            f"The CMake project {folder} makes no {name}.sys.",
            remedy="Give driver.name in winvm.toml the name of the target that wdk_add_driver declares.",
        )
    return driver


def _write_toolchain(folder: Path, output: Path, debug: bool, added: Additions) -> Path:
    """Writes toolchain.cmake and what it names; an unchanged file is left alone: nothing is built again."""
    common, libraries = driver_kit(folder, output, debug, added)
    lines = [
        "set(CMAKE_SYSTEM_NAME Windows)",
        "set(CMAKE_SYSTEM_PROCESSOR AMD64)",
        f"set(CMAKE_C_COMPILER {found(flags.CLANG)})",
        f"set(CMAKE_CXX_COMPILER {found(flags.CLANGXX)})",
        *(
            _quoted(f"CMAKE_{language}_COMPILER_LAUNCHER", str(output / "compile"))
            for language in ("C", "CXX")
        ),
        "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)",
        _quoted("CMAKE_C_FLAGS_INIT", " ".join(common)),
        _quoted("CMAKE_CXX_FLAGS_INIT", " ".join([*common, *flags.CXX])),
        *(
            f'set(CMAKE_{language}_FLAGS_{kind} "")'
            for language in ("C", "CXX")
            for kind in ("DEBUG", "RELEASE")
        ),
        'set(CMAKE_USER_MAKE_RULES_OVERRIDE "${CMAKE_CURRENT_LIST_DIR}/rules.cmake")',
        _quoted("WINVM_KIT", str(wdk_folder())),
        _quoted("WINVM_LIBRARIES", ";".join(libraries)),
        _quoted("WDK_ROOT", str(wdk_folder())),
        "list(PREPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR}/modules)",
    ]
    rules = [line for language in ("C", "CXX") for line in _rules(language, libraries, added)]
    keep(output / "rules.cmake", "\n".join([*rules, ""]))  # read after CMake's own for Windows
    keep(output / "compile", LAUNCHER).chmod(0o755)
    keep(output / "modules" / "FindWDK.cmake", MODULE)
    return keep(output / "toolchain.cmake", "\n".join([*lines, ""]))


def _rules(language: str, libraries: Sequence[str], added: Additions) -> list[str]:
    """How executables of a language are linked: as drivers."""
    words = [found(flags.LINK), *flags.STANDARD_LINK, *added.link("DriverEntry"), "/out:<TARGET>"]
    words += ["/pdbaltpath:%_PDB%", "<OBJECTS>", "<LINK_LIBRARIES>", *libraries]
    return [
        _quoted(f"CMAKE_{language}_LINK_EXECUTABLE", " ".join(words)),
        f'set(CMAKE_{language}_STANDARD_LIBRARIES "" CACHE STRING "" FORCE)',
        f'set(CMAKE_{language}_STANDARD_LIBRARIES_INIT "")',
    ]


def _quoted(name: str, value: str) -> str:
    return f"set({name} [==[{value}]==])"
