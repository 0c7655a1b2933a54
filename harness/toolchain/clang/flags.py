"""The options that make clang and lld take sources written for cl, link and the WDK, and what each is for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

CLANG = "clang-19"
CLANGXX = "clang++-19"
LINK = "lld-link-19"
MINGW = Path("/usr/x86_64-w64-mingw32/include")
"""mingw-w64's headers, the package mingw-w64-x86-64-dev."""

TARGET = ("--target=x86_64-w64-windows-gnu",)
MICROSOFT = (
    "-fms-extensions",
    "-fms-compatibility",  # cl's preprocessor: drops a comma before an empty __VA_ARGS__, takes \ in #include
    "-fms-compatibility-version=0",  # ... but no _MSC_VER, which would change what mingw-w64's headers do
    "-D__GNUC__=4",  # -fms-compatibility undefines it, and mingw-w64's headers need it
    "-D__GNUC_MINOR__=2",
    "-D__GNUC_PATCHLEVEL__=1",
    # mingw-w64's wdm.h defines these two again, after intrin.h has.
    "-D__INTRINSIC_DEFINED_InterlockedBitTestAndSet",
    "-D__INTRINSIC_DEFINED_InterlockedBitTestAndReset",
)
KIT = (
    "--target=x86_64-pc-windows-msvc",
    "-fms-extensions",
    "-fms-compatibility",
    "-fms-compatibility-version=19.40",  # the WDK's headers ask for a Visual C++ of its time
    "-fdelayed-template-parsing",
)
"""Instead of `TARGET` and `MICROSOFT`, for the headers of a WDK."""
KERNEL = (
    "-ffreestanding",
    "-fasynchronous-unwind-tables",
    "-fno-stack-protector",  # no __security_cookie in mingw-w64's kit
    "-mno-red-zone",
    "-mno-stack-arg-probe",
    "-Xclang",
    "-fasync-exceptions",  # __try guards plain loads and stores, too, as cl's does
)
DEBUG_INFORMATION = ("-g", "-gcodeview", "-gno-codeview-command-line")
# cl takes these with a warning, clang makes errors of them.
TOLERATED = (
    "-w",
    "-Wno-c++11-narrowing",
    "-Wno-implicit-int",
    "-Wno-int-conversion",
    "-Wno-incompatible-pointer-types",
    "-Wno-incompatible-function-pointer-types",
    "-Wno-microsoft-cast",
    "-Wno-return-type",
    "-Wno-writable-strings",
    "-Wno-microsoft-string-literal-from-predefined",
    "-Wno-address-of-temporary",
    "-Wno-register",
    "-Wno-invalid-token-paste",
)
DEFINES = (
    *("_AMD64_", "AMD64", "_WIN64", "_M_AMD64=100", "_M_X64=100", "WIN32=100", "_KERNEL_MODE=1", "WINNT=1"),
    *("STD_CALL", "CONDITION_HANDLING=1", "NT_UP=0", "UNICODE", "_UNICODE"),
    *("ALLOC_PRAGMA=1", "ALLOC_DATA_PRAGMA=1"),  # sources test them before #pragma alloc_text
    *("DEPRECATE_DDK_FUNCTIONS=1", "MSC_NOOPT", "DEVL=1", "FPO=0"),
)
VERSION_DEFINES = ("_WIN32_WINNT=0x0A00", "WINVER=0x0A00", "NTDDI_VERSION=0x0A00000B")
"""Windows 10 21H2; left out where the project defines its own."""
CXX = (
    *("-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-use-cxa-atexit"),
    *("-fsized-deallocation", "-fno-aligned-allocation"),
)
C = ("-std=gnu17", "-fcommon")
"""-fcommon: link merges variables that several C files define without a value."""
STANDARD_LINK = (
    *("/driver", "/subsystem:native,10.00", "/version:10.0", "/machine:x64", "/nodefaultlib"),
    "/release",  # a valid checksum
    *("/dynamicbase", "/highentropyva", "/nxcompat", "/debug"),
    "/Brepro",  # no build time in the file
    "/section:INIT,ERD",  # discarded once DriverEntry has returned; lld sets that flag only if asked to
    "/merge:.CRT=.rdata",
    "/ignore:longsections",
    "/errorlimit:0",
)


def optimisation(debug: bool) -> tuple[str, ...]:
    """Options of a build. A debug build keeps its variables, but uses -O1: a kernel stack has only 24 KiB."""
    return ("-O1", "-DDBG=1") if debug else ("-O2", "-DDBG=0", "-DNDEBUG=1")


def version_defines(defines: Iterable[str]) -> list[str]:
    """The Windows version to compile for, unless the project defines it."""
    own = {define.partition("=")[0] for define in defines}
    if own & {"NTDDI_VERSION", "_WIN32_WINNT"}:
        return []
    return [f"-D{define}" for define in VERSION_DEFINES]


def headers(overlay: Path, case: Path) -> list[str]:
    """The kit's headers, this project's additions first, every name in any case."""
    return [
        *("-ivfsoverlay", str(case)),
        *("-include", str(overlay / "winvm" / "prelude.h")),
        *("-isystem", str(overlay)),
        *("-isystem", str(MINGW)),
        *("-isystem", str(MINGW / "ddk")),
    ]


def kit_headers(includes: Iterable[Path], case: Path) -> list[str]:
    """The headers of a WDK, every name in any case."""
    return [
        *("-ivfsoverlay", str(case)),
        *(word for folder in includes for word in ("-isystem", str(folder))),
    ]
