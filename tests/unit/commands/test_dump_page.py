"""`winvm dump` without click says what it says with click, and leaves every other command line to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import dump_writer as writer

ENTRY = "import sys; from harness.__main__ import main; main()"
LEAVES_OUT = ("click", "dataclasses", "inspect", "logging", "pathlib")


def ran(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENTRY, *arguments],
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return writer.write(tmp_path_factory.mktemp("dump"), writer.triage())


@pytest.mark.parametrize("flag", [(), ("--json",)], ids=["page", "json"])
def test_both_ways_print_the_same(made: Path, flag: tuple[str, ...]) -> None:
    quick = ran("dump", str(made), *flag)
    through_click = ran("dump", "--download", str(made), *flag)
    assert quick.stdout == through_click.stdout != ""
    assert "\x1b" not in quick.stdout
    assert (quick.returncode, quick.stderr) == (0, "")
    assert ran("dump", *flag, str(made)).stdout == quick.stdout


@pytest.mark.parametrize("name", ["absent.dmp", "text.dmp"])
def test_both_ways_refuse_a_file_alike(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.dmp").write_text("not a dump")
    quick = ran("dump", str(tmp_path / name))
    assert quick.returncode == 2
    assert (quick.returncode, quick.stderr) == (lambda one: (one.returncode, one.stderr))(
        ran("dump", "--download", str(tmp_path / name))
    )


@pytest.mark.parametrize(
    "arguments",
    [["dump"], ["dump", "-h"], ["dump", "a", "b"], ["dump", "--jso", "a"], ["--version"]],
    ids=str,
)
def test_another_command_line_is_for_click(arguments: list[str]) -> None:
    done = ran(*arguments)
    assert done.returncode in (0, 2)
    assert "Usage: " in done.stdout + done.stderr or done.stdout.startswith("0.")


def test_a_symbol_path_is_heeded(made: Path, tmp_path: Path) -> None:
    said = ran("dump", str(made), environment={"_NT_SYMBOL_PATH": f"{tmp_path};odd*"}).stdout
    assert "'odd*' in the symbol path is not a valid element" in said


@pytest.mark.parametrize("flag", [(), ("--json",)], ids=["page", "json"])
def test_it_imports_nothing_that_takes_long(made: Path, flag: tuple[str, ...]) -> None:
    code = (
        "import sys; sys.argv = ['winvm', *sys.argv[1:]]; before = set(sys.modules)\n"
        "from harness.commands.dump_page import without_click\n"
        "assert without_click(sys.argv[1:])\n"
        f"sys.exit(' '.join(name for name in {LEAVES_OUT} if name in set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "dump", str(made), *flag], capture_output=True, text=True, timeout=60
    )
    assert done.stderr.strip() == ""
