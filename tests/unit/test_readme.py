"""Every command that the documentation shows exists as shown, and something runs it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from harness.cli import winvm

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

RUN_BY = {
    "winvm fuzz": ("tests/vm/test_fuzz.py", '"fuzz", "--json"'),
    "make test": (".ci/run", "make test"),
    "make vm-test": (".ci/run", "make vm-test"),
    "make soak": (".ci/run", "make soak"),
    "winvm build": ("tests/unit/test_wheel.py", '"harness", "build"'),
    "winvm doctor": ("tests/unit/test_doctor.py", '"doctor"'),
    "winvm list": ("tests/unit/commands/test_listing.py", '"list"'),
    "winvm run": ("tests/vm/test_second_driver.py", '"run"'),
    "winvm init": ("tests/unit/project/test_scaffold.py", '"init"'),
    "winvm new-driver": ("tests/vm/test_documented.py", "winvm new-driver"),
    "winvm smoke": ("tests/vm/test_smoke.py", '"smoke"'),
    "winvm image": ("tests/vm/test_windows_install.py", '"image", "build"'),
    "winvm bisect": ("tests/vm/test_versions.py", '"bisect", *arguments'),
    "winvm compare": ("tests/vm/test_versions.py", '"compare", '),
    "winvm host": ("tests/unit/host/test_setup.py", '"host", "install"'),
    "winvm nightly": ("tests/vm/test_nightly.py", '"nightly"'),
    "make nightly": ("tests/vm/test_nightly.py", '"nightly"'),
    "winvm report": ("tests/unit/report/test_page.py", '"report"'),
    "winvm history": ("tests/vm/test_crash.py", '"history"'),
    "winvm prune": ("tests/vm/test_smoke.py", '"prune"'),
    "winvm up": ("tests/vm/conftest.py", '"up"'),
    "winvm push": ("tests/vm/test_by_hand.py", '"push"'),
    "winvm exec": ("tests/vm/test_by_hand.py", '"exec"'),
    "winvm logs": ("tests/vm/test_by_hand.py", '"logs"'),
    "winvm reproduce": ("tests/vm/test_reproduce.py", '"reproduce", bundle'),
    "make reproduce": ("tests/vm/test_reproduce.py", '"reproduce", f"BUNDLE='),
    "winvm dump": ("tests/unit/dumps/test_kernel.py", '"dump"'),
    "winvm debug": ("tests/unit/commands/test_debug.py", '"debug"'),
    "winvm kd": ("tests/unit/debuggers/kd/test_stream.py", '"listen"'),
    "winvm console": ("tests/vm/test_by_hand.py", '"console"'),
    "winvm key": ("tests/vm/test_by_hand.py", '"key"'),
    "winvm type": ("tests/vm/test_by_hand.py", '"type"'),
    "winvm down": ("tests/vm/test_by_hand.py", '"down"'),
}
"""Command -> the file that runs it, and the words in it that do."""
RUN_HERE = {"make help", "winvm", "pytest"}


def shown() -> list[tuple[str, list[str]]]:
    """(document, words) of every make, winvm and pytest command in a code block or between backquotes."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        for line in (*lines, *re.findall(r"`([^`\n]+)`", prose)):
            program, _, rest = line.removeprefix(".venv/bin/").partition(" ")
            if program in ("make", "winvm", "pytest") and (rest or line in lines):
                found.append((document.name, [program, *shlex.split(rest, comments=True)]))
    return found


def name(words: list[str]) -> str:
    """What names a command: the program, with its subcommand or target where it has such."""
    sub = next((word for word in words[1:] if not word.startswith("-")), "")
    return f"{words[0]} {sub}".strip() if words[0] != "pytest" else "pytest"


COMMANDS = shown()
each = pytest.mark.parametrize(
    "words",
    [words for _, words in COMMANDS],
    ids=[f"{document}: {shlex.join(words)}" for document, words in COMMANDS],
)


def test_the_documentation_shows_commands() -> None:
    assert {name(words) for _, words in COMMANDS} >= {"make vm-test", "winvm up", "pytest"}


@each
def test_something_runs_it(words: list[str]) -> None:
    if name(words) not in RUN_HERE:
        assert name(words) in RUN_BY, f"say in RUN_BY what runs {shlex.join(words)}"
        file, evidence = RUN_BY[name(words)]
        assert evidence in (ROOT / file).read_text(encoding="utf-8")


def test_what_the_table_names_is_shown() -> None:
    assert {*RUN_BY, *RUN_HERE} == {name(words) for _, words in COMMANDS}


@each
def test_it_exists_with_these_options(words: list[str]) -> None:
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program == "winvm":
        command: click.Command = winvm
        context = click.Context(command, info_name=program)
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            found = command.get_command(context, arguments.pop(0))
            assert found is not None
            command, context = found, click.Context(found, parent=context)
        command.make_parser(context).parse_args(arguments)


@pytest.mark.parametrize(
    "words", [words for where, words in COMMANDS if words[0] == "pytest" and where == "README.md"]
)
def test_a_selection_selects_something(words: list[str]) -> None:
    command = [sys.executable, "-m", *words, "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr


def test_help_lists_the_commands() -> None:
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"test", "vm-test"} <= {line.split()[1] for line in targets.splitlines()}
    own = [sys.executable, "-m", "harness", "--help"]
    assert "doctor" in subprocess.run(own, cwd=ROOT, capture_output=True, text=True, check=True).stdout
