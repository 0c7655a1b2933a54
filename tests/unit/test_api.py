"""docs/api.md names what users may rely on, and the code exports exactly that."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import agent
import pytest
from pydantic import BaseModel

from harness import errors, outcome
from harness.deadline import Deadline
from harness.machine.protocol import Machine
from harness.plugins import DEBUGGERS, FLAVOURS, REPORTS
from harness.project.config import Config
from harness.results import ResultsFile, crash_document, run_document
from harness.testing import fixtures, options, plugin, short_names

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def listed(title: str) -> list[str]:
    """The names of a section: its paragraph that is a list, or the first column of its table."""
    section = re.split(r"^## ", TEXT.split(f"\n## {title}\n", 1)[1], flags=re.MULTILINE)[0]
    if rows := re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE):
        return rows
    (names,) = re.findall(r"^(?:`[^`\n]+`,?\s)*`[^`\n]+`\.$", section, flags=re.MULTILINE)
    return re.findall(r"`([^`]+)`", names)


def fields(kind: type) -> list[str]:
    assert dataclasses.is_dataclass(kind)
    return [field.name for field in dataclasses.fields(kind)]


def fixtures_of(module: object) -> set[str]:
    kind = type(pytest.fixture(lambda: None))
    return {name for name, value in vars(module).items() if isinstance(value, kind)}


def keys(model: BaseModel, prefix: str = "") -> set[str]:
    """Dotted keys of a section of winvm.toml; those of a list's tables as well."""
    found = set()
    for name in type(model).model_fields:
        value = getattr(model, name)
        inner = value[0] if isinstance(value, tuple) and value else value
        if isinstance(inner, BaseModel):
            found |= keys(inner, f"{prefix}{name}.")
        if not isinstance(value, BaseModel):
            found.add(f"{prefix}{name}")
    return found


def test_names_of_scenarios() -> None:
    assert listed("Scenarios") == agent.__all__
    assert all(hasattr(agent, name) for name in agent.__all__)


def test_fixtures_and_their_short_names() -> None:
    exported = fixtures_of(fixtures) | fixtures_of(plugin)
    assert set(listed("Fixtures")) == exported
    assert {f"winvm_{name}" for name in fixtures_of(short_names)} == exported


def test_types_of_fixtures() -> None:
    handles = {f"{fixtures.__name__}.{name}" for name in vars(fixtures) if name.endswith("Handle")}
    others = {f"{kind.__module__}.{kind.__name__}" for kind in (plugin.ScenarioRun, Machine, Deadline)}
    assert set(listed("Types")) == others | handles


def test_what_examples_import_is_listed() -> None:
    examples = (ROOT / "docs" / "fixtures.md").read_text(encoding="utf-8")
    imported = re.findall(r"^from (harness\.[\w.]+) import (\w+)$", examples, flags=re.MULTILINE)
    assert imported
    assert {".".join(one) for one in imported} <= set(listed("Types"))


def test_every_fixture_has_an_example() -> None:
    examples = (ROOT / "docs" / "fixtures.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^## `(\w+)`$", examples, flags=re.MULTILINE))
    assert shown == set(listed("Fixtures"))
    assert all(f"({name}" in examples or f", {name}" in examples for name in shown)


def test_entry_points() -> None:
    assert listed("Entry points") == [kind.group for kind in (FLAVOURS, DEBUGGERS, REPORTS)]


def test_markers(pytestconfig: pytest.Config) -> None:
    registered = {re.split(r"[(:]", line)[0] for line in pytestconfig.getini("markers")}
    assert set(listed("Markers")) == {name for name in registered if name.startswith("winvm")}


def test_options() -> None:
    parser = pytest.Parser(_ispytest=True)
    options.add_options(parser)
    group = parser.getgroup("winvm")
    assert listed("pytest options") == [name for option in group.options for name in option.names()]
    assert listed("Short options") == [f"--{name}" for name in options.SHORT]
    assert {f"--winvm-{name}" for name in options.SHORT} < set(listed("pytest options"))


def test_keys_of_winvm_toml() -> None:
    assert set(listed("winvm.toml")) == keys(Config()) - {"root"}


def test_exit_codes() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.WinvmError)}
    codes |= {outcome.exit_code({one: 1}) for one in outcome.Outcome}
    assert set(listed("Exit codes")) == {str(code) for code in codes}


def test_fields_of_results_json(tmp_path: Path) -> None:
    run = outcome.RunResult("run", "wine", 0.0, 0.0, {}, 0, tmp_path / "results.json")
    file = ResultsFile(run.results, run.run_id)
    file.finish(run)
    written = re.findall(r'"(\w+)":', run.results.read_text().replace("{}", '""'))
    assert listed("results.json") == written == ["schema", "run", "scenarios", *run_document(run)]
    assert listed("Results of scenarios") == fields(outcome.ScenarioResult)
    assert listed("Outcomes") == [one.value for one in outcome.Outcome]
    assert listed("Debug records") == fields(outcome.DebugRecord)
    report = outcome.KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 0.0)
    assert listed("Crashes") == list(crash_document(outcome.CrashRecord(report, "s", tmp_path, "e2-drv.sys")))
