"""The driver's build: the sample driver itself, and every way in which a build command can go wrong."""

import os
import subprocess
from pathlib import Path

import pefile
import pytest

from harness.contract.render import HEADER
from harness.contract.rows import read_contract
from harness.errors import BuildError
from harness.toolchain.driver import build_driver
from harness.toolchain.inspect import inspect_driver
from harness.toolchain.sign import TestCertificate, sign, verify

DRIVER = Path(__file__).resolve().parents[3] / "driver"
COMMAND = ("make", "--no-print-directory", "BUILD={build}", "OUT={out}")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    driver = build_driver(DRIVER, COMMAND, "winvm", "fault", folder / "out")
    certificate = TestCertificate.ensure(folder / "certificate")
    sign(driver, certificate)
    verify(driver, certificate)
    return driver


def test_the_sample_driver_passes_the_static_checks(built: Path) -> None:
    assert inspect_driver(built) == []


def test_it_has_a_pdb_that_names_its_sources(built: Path) -> None:
    assert built.with_suffix(".pdb").stat().st_size > 100_000
    address = pefile.PE(str(built)).OPTIONAL_HEADER.AddressOfEntryPoint
    found = subprocess.run(
        ["llvm-symbolizer-19", f"--obj={built}", "--relative-address", hex(address)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "DriverEntry" in found.stdout
    assert "driver.c" in found.stdout


def test_every_function_can_be_unwound(built: Path) -> None:
    """Kernel stack walks and SEH need an entry in .pdata for every function that has a frame."""
    image = pefile.PE(str(built))
    exceptions = image.OPTIONAL_HEADER.DATA_DIRECTORY[
        pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_EXCEPTION"]
    ]
    assert exceptions.Size // 12 > 40


def test_its_hello_answers_with_the_contract_hash(built: Path) -> None:
    assert read_contract(HEADER).hash in built.read_bytes()


def test_a_second_build_does_nothing(built: Path) -> None:
    before = built.stat().st_mtime_ns
    assert build_driver(DRIVER, COMMAND, "winvm", "fault", built.parent) == built
    assert built.stat().st_mtime_ns == before


def test_an_unknown_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        build_driver(DRIVER, COMMAND, "winvm", "debug", tmp_path / "out")
    assert 'BUILD is "debug"' in caught.value.detail


def test_compiler_output_is_the_detail(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("all:\n\t@echo 'mine.c:3: error: no such thing' >&2; exit 1\n")
    with pytest.raises(BuildError, match="release build of mine failed with exit code 2") as caught:
        build_driver(tmp_path, ("make",), "mine", "release", tmp_path / "out")
    assert "mine.c:3: error: no such thing" in caught.value.detail
    assert caught.value.exit_code == 2


def test_of_many_errors_the_first_are_shown_and_all_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.c").write_text("".join(f"int f{n}(void) {{ return nothing{n}; }}\n" for n in range(15)))
    command = ("clang-19", "-c", "mine.c", "-o", "{out}/mine.o")
    with pytest.raises(BuildError) as caught:
        build_driver(tmp_path, command, "mine", "release", tmp_path / "out")
    assert caught.value.detail.startswith("mine.c:1:23: error: use of undeclared identifier 'nothing0'")
    assert "10 more errors; the compilers' whole output: " in caught.value.detail
    assert "nothing14" not in caught.value.detail
    assert "nothing14" in (tmp_path / "out" / "errors.txt").read_text()


def test_a_build_that_leaves_no_driver(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"left no .*mine\.sys"):
        build_driver(tmp_path, ("true",), "mine", "release", tmp_path / "out")


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="'no-such-make' cannot be run"):
        build_driver(tmp_path, ("no-such-make",), "mine", "release", tmp_path / "out")


def test_a_users_own_command_gets_build_and_folder(tmp_path: Path) -> None:
    command = ("sh", "-c", "echo {build} > {out}/mine.sys")
    driver = build_driver(tmp_path, command, "mine", "checked", tmp_path / "out")
    assert driver.read_text() == "checked\n"


def test_output_that_is_no_text_does_not_hide_the_failure(tmp_path: Path) -> None:
    command = ("sh", "-c", "printf '\\377\\376'; exit 3")
    with pytest.raises(BuildError, match="exit code 3"):
        build_driver(tmp_path, command, "mine", "release", tmp_path / "out")


def test_the_build_cannot_wait_for_input(tmp_path: Path) -> None:
    command = ("sh", "-c", "cat > {out}/mine.sys")
    assert os.path.getsize(build_driver(tmp_path, command, "mine", "release", tmp_path / "out")) == 0
