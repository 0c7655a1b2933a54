"""Builds the smallest driver that passes the static checks, and ones with a single defect each."""

import subprocess
from pathlib import Path

SOURCE = """
__declspec(dllimport) unsigned long DbgPrint(const char *Format, ...);
__attribute__((section("PAGE"))) void Unload(void *Driver) { (void)Driver; DbgPrint("bye"); }
__attribute__((section("INIT"))) long DriverEntry(void **Driver, void *Path) {
    (void)Path; Driver[13] = (void *)Unload; DbgPrint("hello"); return 0;
}
"""
IMPORT_LIBRARIES = Path("/usr/x86_64-w64-mingw32/lib")
LINK = [
    "/driver",
    "/subsystem:native",
    "/entry:DriverEntry",
    "/nodefaultlib",
    "/release",
    "/section:INIT,ERD",
    "/machine:x64",
]


def build_tiny_driver(
    folder: Path,
    source: str = SOURCE,
    link: list[str] | None = None,
    libraries: list[Path] | None = None,
    target: str = "x86_64-w64-windows-gnu",
) -> Path:
    (folder / "tiny.c").write_text(source)
    subprocess.run(
        ["clang-19", f"--target={target}", "-ffreestanding", "-O1", "-c", "tiny.c", "-o", "tiny.o"],
        cwd=folder,
        check=True,
    )
    libraries = [IMPORT_LIBRARIES / "libntoskrnl.a"] if libraries is None else libraries
    options = LINK if link is None else link
    subprocess.run(
        ["lld-link-19", *options, "/out:tiny.sys", "tiny.o", *map(str, libraries)], cwd=folder, check=True
    )
    return folder / "tiny.sys"


def import_library(folder: Path, module: str, *names: str) -> Path:
    """An import library for `names` of `module`."""
    definition = folder / f"{module}.def"
    definition.write_text("\n".join([f"LIBRARY {module}", "EXPORTS", *names, ""]))
    library = folder / f"{module}.lib"
    subprocess.run(
        ["llvm-dlltool-19", "-m", "i386:x86-64", "-d", str(definition), "-l", str(library)], check=True
    )
    return library


FOREIGN = """
__declspec(dllimport) unsigned long DbgPrint(const char *Format, ...);
static void Unload(void *Driver) { (void)Driver; DbgPrint("foreign: bye\\n"); }
long DriverEntry(void **Driver, void *Path) {
    (void)Path; Driver[13] = (void *)Unload; DbgPrint("foreign: %s\\n", "GREETING"); return 0;
}
"""


def build_foreign_driver(folder: Path, greeting: str = "hello") -> Path:
    """A driver as Visual Studio builds it: Microsoft's ABI, with PDB, no INIT or PAGE section, unsigned."""
    source = FOREIGN.replace("GREETING", greeting)
    link = [option for option in LINK if not option.startswith("/section")] + ["/debug", "/pdb:tiny.pdb"]
    return build_tiny_driver(folder, source, link, target="x86_64-pc-windows-msvc")
