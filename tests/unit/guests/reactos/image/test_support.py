"""The support libraries: built from their sources, run by an emulator, put into CPython's import tables."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pefile
import pytest

from harness.errors import ImageError
from harness.guests.reactos.image.imports import (
    exports_by_name,
    exports_of,
    imports_of,
    redirect,
    unmet,
)
from harness.guests.reactos.image.recipe import Library, PythonParts, read_parts
from harness.guests.reactos.image.support import build_library
from harness.project.config import home
from tests.fakes.emulated_library import EmulatedLibrary

GOLDEN = Path(__file__).parents[4] / "golden" / "reactos" / "cpython-imports.txt"
MINGW = Path("/usr/x86_64-w64-mingw32/lib")
E_INVALIDARG, TOO_SMALL, TOO_LONG = 0x80070057, 0x8007007A, 0x800700CE
NT52_LACKS = frozenset(
    {
        "CancelIoEx",
        "CompareStringOrdinal",
        "CreateWaitableTimerExW",
        "DeleteProcThreadAttributeList",
        "GetActiveProcessorCount",
        "GetActiveProcessorGroupCount",
        "GetErrorMode",
        "GetMaximumProcessorCount",
        "GetMaximumProcessorGroupCount",
        "InitializeProcThreadAttributeList",
        "LCMapStringEx",
        "SetWaitableTimerEx",
        "UpdateProcThreadAttribute",
    }
)
IN_VISTA = frozenset({"GetTickCount64", "InitializeSRWLock", "CreateSymbolicLinkW"})


def names_in(library: str) -> frozenset[str]:
    """Routines of one of mingw-w64's import libraries."""
    listed = subprocess.run(
        ["llvm-nm-19", "--defined-only", "--format=just-symbols", str(MINGW / library)],
        capture_output=True,
        text=True,
        check=True,
    )
    prefix = "__imp_"
    return frozenset(
        line.removeprefix(prefix) for line in listed.stdout.splitlines() if line.startswith(prefix)
    )


@pytest.fixture(scope="session")
def modules() -> dict[str, frozenset[str]]:
    """What an NT 5.2 exports, as far as these tests need it."""
    kernel32 = names_in("libkernel32.a")
    return {
        "kernel32.dll": kernel32 - NT52_LACKS - IN_VISTA,
        "kernel32_vista.dll": IN_VISTA,
        "ntdll.dll": names_in("libntdll.a"),
        "ucrtbase.dll": names_in("libucrtbase.a") | {"__sys_errlist", "__sys_nerr"},
        "iphlpapi.dll": frozenset({"GetAdaptersInfo"}),
    }


@pytest.fixture(scope="session")
def parts() -> PythonParts:
    return read_parts()


@pytest.fixture(scope="session")
def built(
    parts: PythonParts, modules: dict[str, frozenset[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    return {
        library.name: build_library(library, modules, tmp_path_factory.mktemp("support"))
        for library in parts.libraries
    }


@pytest.fixture
def paths(built: dict[str, Path]) -> EmulatedLibrary:
    return EmulatedLibrary(
        built["winvmk32.dll"],
        {
            "GetProcessHeap": lambda *_: 1,
            "HeapAlloc": lambda library, _heap, _flags, size, _: library.put(bytes(size)),
            "HeapFree": lambda *_: 1,
        },
    )


def read_golden() -> dict[str, set[str]]:
    """Module -> what the pinned CPython imports of it."""
    found: dict[str, set[str]] = {}
    for line in GOLDEN.read_text(encoding="ascii").splitlines():
        module, name = line.split("!")
        found.setdefault(module, set()).add(name)
    return found


def test_every_import_of_cpython_is_met(parts: PythonParts, built: dict[str, Path]) -> None:
    missing = []
    for module, names in read_golden().items():
        (library,) = [one for one in parts.libraries if one.replaces(module)]
        missing += [f"{module}!{name}" for name in names - exports_of(built[library.name])]
    assert not missing


def forwarders(library: Path) -> dict[str, bytes | None]:
    """Routine -> where a call of it is handed on to, None for one of the library's own."""
    image: Any = pefile.PE(str(library))
    return {one.name.decode(): one.forwarder for one in image.DIRECTORY_ENTRY_EXPORT.symbols}


def test_own_routines_are_no_forwarders(parts: PythonParts, built: dict[str, Path]) -> None:
    for library in parts.libraries:
        forwarded = forwarders(built[library.name])
        assert {name for name in library.own if forwarded[name]} == set()
        assert all(forwarded[name] for name in forwarded if name not in library.own)


def test_the_first_module_that_exports_a_routine_gets_the_call(built: dict[str, Path]) -> None:
    forwarded = forwarders(built["winvmk32.dll"])
    assert forwarded["CreateFileW"] == b"kernel32.CreateFileW"
    assert forwarded["GetTickCount64"] == b"kernel32_vista.GetTickCount64"


def test_the_same_inputs_give_the_same_bytes(
    parts: PythonParts, modules: dict[str, frozenset[str]], built: dict[str, Path], tmp_path: Path
) -> None:
    library = parts.libraries[0]
    again = build_library(library, modules, tmp_path / "elsewhere")
    assert again.read_bytes() == built[library.name].read_bytes()


def test_a_routine_that_the_guest_lacks_too_is_named(
    parts: PythonParts, modules: dict[str, frozenset[str]], tmp_path: Path
) -> None:
    poor = {**modules, "kernel32.dll": modules["kernel32.dll"] - {"SetWaitableTimer"}}
    with pytest.raises(ImageError) as raised:
        build_library(parts.libraries[0], poor, tmp_path)
    assert "SetWaitableTimer" in raised.value.detail


def exp(value: float) -> float:
    return math.inf if value > 709.78 else math.exp(value)


def log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf if value == 0 else math.nan


@pytest.fixture
def mathematics(built: dict[str, Path]) -> EmulatedLibrary:
    return EmulatedLibrary(
        built["winvmcrt.dll"],
        calculated={"exp": (exp, 1), "log": (log, 1), "pow": (math.pow, 2), "sqrt": (math.sqrt, 1)},
    )


SMALL = [0.0, -0.0, 1e-300, -1e-12, 1e-12, 1e-4, 0.3]
USUAL = [*SMALL, -3.75, 1.0, 5.5, 25.0, -1e5]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("acosh", [1.0, 1.0 + 1e-12, 1.5, 1e10, 1e300, math.inf]),
        ("asinh", [*USUAL, 1e300, math.inf]),
        ("atanh", [*SMALL, -0.9, 0.5, 1 - 1e-12]),
        ("cbrt", [*USUAL, 27.0, 1e300, -5e-324, math.inf]),
        ("erf", [*SMALL, -3.75, 1.0, 5.5]),
        ("erfc", [*SMALL, -3.75, 1.0, 5.5]),
        ("expm1", [*SMALL, -3.75, 1.0, 5.5, -50.0, 700.0, math.inf, -math.inf]),
        ("log1p", [*SMALL, -0.5, 1e-16, 5.5, 1e300, math.inf]),
        ("trunc", [*USUAL, 0.99, -0.99, 1e300]),
    ],
)
def test_mathematics(mathematics: EmulatedLibrary, name: str, values: list[float]) -> None:
    def wanted(value: float) -> float:
        if name == "cbrt":
            return math.copysign(float(Decimal(abs(value)) ** (Decimal(1) / 3)), value)
        return float(math.trunc(value)) if name == "trunc" else float(getattr(math, name)(value))

    for value in values:
        found, expected = mathematics.calculate(name, value), wanted(value)
        assert found == pytest.approx(expected, rel=1e-14, abs=0), f"{name}({value})"
        if name != "erfc" and name != "acosh" and name != "trunc":
            assert math.copysign(1, found) == math.copysign(1, value), f"{name}({value})"


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("acosh", 0.5, math.nan),
        ("atanh", 1.5, math.nan),
        ("atanh", -1.0, -math.inf),
        ("log1p", -1.0, -math.inf),
        ("log1p", -2.0, math.nan),
        ("expm1", math.nan, math.nan),
        ("asinh", math.nan, math.nan),
        ("cbrt", math.nan, math.nan),
    ],
)
def test_mathematics_outside_its_domain(
    mathematics: EmulatedLibrary, name: str, value: float, result: float
) -> None:
    assert mathematics.calculate(name, value) == pytest.approx(result, nan_ok=True)


def test_copysign(mathematics: EmulatedLibrary) -> None:
    assert math.copysign(1, mathematics.calculate("copysign", 0.0, -2.0)) == -1
    assert mathematics.calculate("copysign", -3.5, 1.0) == 3.5


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        (r"C:\a\b", r"a\b"),
        ("C:", ""),
        ("C:a", "a"),
        (r"\a", "a"),
        (r"\\server\share\a", "a"),
        (r"\\server\share", ""),
        (r"\\server", ""),
        (r"\\?\C:\a", "a"),
        (r"\\?\UNC\server\share\a", "a"),
        (r"\\?\Volume{e1b5b5a0-0000}\a", "a"),
        ("a", None),
        (r"a\b", None),
        ("", None),
        (r"\\?\a", None),
    ],
)
def test_skip_root(paths: EmulatedLibrary, path: str, rest: str | None) -> None:
    end = paths.put(bytes(8))
    found = paths.call("PathCchSkipRoot", paths.text(path), end)
    if rest is None:
        assert found == E_INVALIDARG
    else:
        assert found == 0
        assert paths.read_text(struct.unpack("<Q", paths.read(end, 8))[0]) == rest


@pytest.mark.parametrize(
    ("path", "more", "combined"),
    [
        (r"C:\a", "b", r"C:\a\b"),
        ("C:\\a\\", "b", r"C:\a\b"),
        (r"C:\a", r"..\b", r"C:\b"),
        (r"C:\a", r"..\..\..\b", r"C:\b"),
        (r"C:\a", r".\b\.\c", r"C:\a\b\c"),
        (r"C:\a\b", "..", r"C:\a"),
        (r"C:\a", "..", "C:\\"),
        (r"C:\a", r"D:\b", r"D:\b"),
        (r"C:\a", r"\b", r"C:\b"),
        (r"C:\a", r"\\server\share\b", r"\\server\share\b"),
        (r"\\server\share\a", r"..\..\b", r"\\server\share\b"),
        (r"C:\a", "", r"C:\a"),
        ("", r"b\..\c", "c"),
        ("C:", "", "C:\\"),
        ("C:\\a\\b\\", "", "C:\\a\\b\\"),
    ],
)
def test_combine(paths: EmulatedLibrary, path: str, more: str, combined: str) -> None:
    target = paths.put(bytes(200))
    assert paths.call("PathCchCombineEx", target, 100, paths.text(path), paths.text(more), 1) == 0
    assert paths.read_text(target) == combined


def test_combine_in_place(paths: EmulatedLibrary) -> None:
    path = paths.put("C:\\Python\0".encode("utf-16-le").ljust(200, b"\0"))
    assert paths.call("PathCchCombineEx", path, 100, path, paths.text("Lib"), 1) == 0
    assert paths.read_text(path) == r"C:\Python\Lib"


@pytest.mark.parametrize(
    ("size", "length", "flags", "result"),
    [
        (11, 8, 1, TOO_SMALL),
        (12, 8, 1, 0),
        (300, 257, 0, TOO_LONG),
        (300, 256, 0, 0),
        (0x8000, 0x7FFF, 1, TOO_LONG),
    ],
)
def test_combine_knows_its_limits(
    paths: EmulatedLibrary, size: int, length: int, flags: int, result: int
) -> None:
    target = paths.put(bytes(2 * size + 2))
    more = paths.text("b" * length)
    assert paths.call("PathCchCombineEx", target, size, paths.text("C:\\"), more, flags) == result
    assert bool(paths.read_text(target)) == (result == 0)


@pytest.mark.parametrize(
    ("path", "extension"),
    [(r"C:\a.b\c.txt", ".txt"), (r"C:\a.b\c", ""), ("a.tar.gz", ".gz"), ("a.b c", ""), ("", "")],
)
def test_find_extension(paths: EmulatedLibrary, path: str, extension: str) -> None:
    found = paths.put(bytes(8))
    assert paths.call("PathCchFindExtension", paths.text(path), 260, found) == 0
    assert paths.read_text(struct.unpack("<Q", paths.read(found, 8))[0]) == extension


def test_find_extension_of_a_text_without_end(paths: EmulatedLibrary) -> None:
    assert paths.call("PathCchFindExtension", paths.text("abcdef"), 4, paths.put(bytes(8))) == E_INVALIDARG


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executables of the pinned CPython, if an image build has downloaded them."""
    found = sorted((home() / "downloads").glob("windows-python-*.zip"))
    if not found:
        pytest.skip("no Windows CPython in WINVM_HOME/downloads: winvm image build downloads it")
    folder = tmp_path_factory.mktemp("python")
    with zipfile.ZipFile(found[-1]) as archive:
        for name in archive.namelist():
            if Path(name).suffix in (".exe", ".dll", ".pyd"):
                archive.extract(name, folder)
    return folder


def executables(folder: Path, parts: PythonParts) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(path.match(pattern) for pattern in parts.excluded)
    ]


def test_the_list_of_imports_is_that_of_the_pinned_cpython(python: Path, parts: PythonParts) -> None:
    found: dict[str, set[str]] = {}
    for path in executables(python, parts):
        for one in imports_of(path):
            if any(library.replaces(one.module) for library in parts.libraries):
                found.setdefault(one.module, set()).add(one.name)
    assert found == read_golden()


def test_rewritten_cpython_asks_the_support_libraries(
    python: Path, parts: PythonParts, built: dict[str, Path], tmp_path: Path
) -> None:
    names = {library.name for library in parts.libraries}
    for name in names:
        shutil.copy(built[name], tmp_path)
    for path in executables(python, parts):
        copy = tmp_path / path.name
        shutil.copy(path, copy)
        signed = pefile.PE(str(copy), fast_load=True).OPTIONAL_HEADER.DATA_DIRECTORY[4].Size
        replaced = redirect(copy, parts.libraries)
        image = pefile.PE(str(copy), fast_load=True)
        assert image.verify_checksum()
        if replaced:
            assert image.OPTIONAL_HEADER.DATA_DIRECTORY[4].Size == 0
            assert not signed or copy.stat().st_size < path.stat().st_size
        assert not [
            one for one in imports_of(copy) if any(lib.replaces(one.module) for lib in parts.libraries)
        ]
    exports = exports_by_name(tmp_path.iterdir())
    missing = unmet(
        [*sorted(tmp_path.glob("*.pyd")), tmp_path / "python.exe", tmp_path / "python311.dll"], exports
    )
    assert not [name for name in missing if name.partition("!")[0] in names]


def test_a_longer_name_is_refused(python: Path, tmp_path: Path) -> None:
    copy = shutil.copy(python / "python.exe", tmp_path)
    library = Library("a-name-that-is-too-long.dll", ("kernel32.dll",), (), (), ())
    with pytest.raises(ImageError, match="does not fit in place of KERNEL32"):
        redirect(Path(copy), [library])


def test_a_file_that_is_no_executable(tmp_path: Path) -> None:
    file = tmp_path / "kernel32.dll"
    file.write_bytes(b"MZ" + bytes(10))
    with pytest.raises(ImageError, match="is no Windows executable"):
        exports_of(file)


def test_a_recipe_that_lacks_an_entry(tmp_path: Path) -> None:
    (tmp_path / "python.toml").write_text("excluded = []\n")
    with pytest.raises(ImageError, match="beside_python"):
        read_parts(tmp_path)
