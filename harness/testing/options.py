"""winvm's pytest options, and their short forms.

`--winvm-guest` and the others are options of pytest's parser. The short forms (`--guest`) are not: winvm
rewrites them on the command line after every plugin and initial conftest.py has added its own options, and
only those that no other plugin defines. So another plugin's `--repeat` never collides with winvm's.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
from collections.abc import Sequence

import pytest

from harness.testing import low_memory
from harness.testing.coverage import add_coverage_options

PREFIX = "--winvm-"
SHORT: tuple[str, ...] = (
    *("guest", "build", "param", "label", "repeat", "verifier"),
    *(
        "coverage",
        "coverage-fail-under",
        "coverage-diff",
        "guard",
        "guard-fail",
        "guard-sweep",
        "hold",
        "libvirt-uri",
    ),
)
"""Options that also have a form without the prefix."""


def add_options(parser: pytest.Parser) -> None:
    """Adds every option of winvm to pytest's parser."""
    group = parser.getgroup(
        "winvm",
        "Windows driver scenarios in a VM; "
        + ", ".join(f"--{name}" for name in SHORT)
        + " are short forms unless another plugin defines them",
    )
    group.addoption("--winvm-guest", metavar="PROFILE", help="guest profile (default: winvm.toml's)")
    group.addoption("--winvm-config", metavar="FILE", help="the winvm.toml to use (default: the nearest one)")
    group.addoption(
        "--winvm-scenario",
        metavar="NAME",
        action="append",
        default=[],
        help="run these scenarios: a name, a module or its file, a pattern with * and ?; may be repeated",
    )
    group.addoption(
        "--winvm-last-failed",
        action="store_true",
        help="run the scenarios that did not pass when they last ran, all if there are none",
    )
    group.addoption(
        "--winvm-build",
        metavar="NAME",
        action="append",
        default=[],
        help="driver build to run against, `all` for every one; may be repeated",
    )
    group.addoption(
        "--winvm-param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="parameter of scenarios, declared in winvm.toml; may be repeated",
    )
    group.addoption(
        "--winvm-label",
        metavar="NAME",
        action="append",
        default=[],
        help="history compares this run with runs of the same labels, guest and builds; may be repeated",
    )
    group.addoption(
        "--winvm-repeat",
        metavar="N",
        type=_times,
        default=1,
        help="run each chosen scenario N times in a row; it passes if every run does",
    )
    group.addoption("--winvm-verifier", action="store_true", help="let Driver Verifier watch the driver")
    add_coverage_options(group)
    group.addoption("--winvm-guard", action="store_true", help="let the guard library watch the driver")
    low_memory.add_options(group)
    group.addoption(
        "--winvm-corpus", metavar="DIR", help="run the cases of a corpus of winvm fuzz in place of scenarios"
    )
    group.addoption(
        "--winvm-hold",
        action="store_true",
        help="at an unexpected crash, leave the guest as it is until Enter or Ctrl-C, and end the run then",
    )
    group.addoption(
        "--winvm-artifacts", metavar="FOLDER", help="where to leave results (default: winvm.toml's)"
    )
    group.addoption(
        "--winvm-libvirt-uri", metavar="URI", help="the libvirt daemon to use (default: winvm.toml's)"
    )


def _times(text: str) -> int:
    try:
        times = int(text)
    except ValueError:
        times = 0
    if times < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs, 1 or more")
    return times


def assume(early_config: pytest.Config, parser: pytest.Parser, arguments: Sequence[str]) -> None:
    """Keeps pytest from taking the values of short forms for paths of initial conftest.py files.

    Which short forms those files define is not known yet: so far, all that no plugin defines are winvm's.
    """
    assumed = list(arguments)
    lengthen(parser, assumed)
    with contextlib.suppress(pytest.UsageError):  # pytest reports it itself, later
        paths = parser.parse_known_args(assumed, copy.copy(early_config.option)).file_or_dir
        early_config.known_args_namespace.file_or_dir = paths


def lengthen(parser: pytest.Parser, arguments: list[str]) -> None:
    """Replaces the short forms in `arguments`, in place, except those that another plugin defined."""
    taken: dict[str, bool] = {}
    for position, argument in enumerate(arguments):
        if argument == "--":
            return
        option, equals, value = argument.partition("=")
        if option.removeprefix("--") not in SHORT or not option.startswith("--"):
            continue
        if option not in taken:
            taken[option] = _is_defined(parser, option)
        if not taken[option]:
            arguments[position] = PREFIX + option.removeprefix("--") + equals + value


def _is_defined(parser: pytest.Parser, option: str) -> bool:
    """Whether the parser knows an option. A usage error means that it does, with another type."""
    try:
        _, unknown = parser.parse_known_and_unknown_args([f"{option}=x"])
    except (pytest.UsageError, ValueError):
        return True
    return bool(not unknown)
