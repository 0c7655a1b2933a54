"""Mistakes of users, through the real commands: one paragraph, an exit code, no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.bad_input_project import SCENARIO, WINVM_TOML, Project
from tests.fakes.tiny_driver import SOURCE, build_tiny_driver, import_library


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.make(tmp_path / "project", tmp_path / "home")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("[driver\n", "is not valid TOML"),
        ("\ufffd = 1", "is not valid TOML"),
        ("driver = 3", "driver: Input should be"),
        (WINVM_TOML.replace("folder =", "foldr ="), "driver.foldr: unknown key (did you mean folder?)"),
        (WINVM_TOML.replace('"scenarios"', '"nowhere"'), "nowhere has no Python file"),
        (WINVM_TOML + '[guest]\nprofile = "dos"', "There is no guest profile 'dos'. Known profiles: "),
    ],
)
def test_a_broken_winvm_toml(project: Project, document: str, says: str) -> None:
    (project.folder / "winvm.toml").write_text(document)
    code, said = project.winvm("run")
    assert (code, says in said) == (2, True), said


@pytest.mark.parametrize("bad", ["absent", "folder", "binary"])
def test_a_winvm_toml_that_cannot_be_read(project: Project, bad: str) -> None:
    file = project.folder / "winvm.toml"
    file.unlink()
    if bad == "folder":
        file.mkdir()
    elif bad == "binary":
        file.write_bytes(b"\xff\xfe\0")
    code, said = project.winvm("--config", str(file), "run")
    assert (code, "winvm.toml" in said) == (2, True)


def test_no_winvm_toml_at_all(project: Project) -> None:
    (project.folder / "winvm.toml").unlink()
    code, said = project.winvm("run")
    assert code == 2
    assert "No winvm.toml in" in said
    assert "--config" in said
    assert "winvm init" in said


def test_a_choice_that_nothing_matches(project: Project) -> None:
    code, said = project.winvm("run", "-k", "no_such_scenario")
    assert (code, "No scenario is chosen." in said) == (2, True)
    assert "warning" not in said.lower(), "an editable install, as that of this checkout, had one"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def (", "broken.py:1: syntax error"),
        (
            "\n\nimport no_such_module\n",
            "broken.py:3: import failed: there is no module no_such_module. The guest has CPython's",
        ),
        ("raise SystemExit(3)\n", "broken.py:1: import failed: SystemExit: 3"),
        ("import os\nos._exit(7)\n", "ended with exit code 7 and printed no list"),
        (
            SCENARIO.replace("@scenario", "@scenario(deadline_s=-1)"),
            "deadline_s of broken.nothing must be in",
        ),
        (
            SCENARIO.replace("@scenario", "@scenario(expect_dbgprint=['('])"),
            "expect_dbgprint of broken.nothing",
        ),
    ],
)
def test_a_broken_scenario_module(project: Project, source: str, says: str) -> None:
    (project.folder / "scenarios" / "broken.py").write_text(source)
    code, said = project.winvm("run")
    assert (code, says in said) == (2, True), said
    assert not (project.folder / "artifacts").exists()


def test_pytest_ends_with_winvms_exit_code(project: Project) -> None:
    (project.folder / "scenarios" / "broken.py").write_text("def (")
    for code, said in (project.pytest(), project.pytest("--collect-only")):
        assert (code, "broken.py:1: syntax error" in said) == (2, True), said


def test_options_that_pytest_refuses(project: Project) -> None:
    assert project.winvm("run", "-k", "a and (")[0] == 2
    assert project.winvm("run", "-k", "nothing_of_this_name")[0] == 2


def test_a_driver_that_does_not_build(project: Project) -> None:
    broken = WINVM_TOML.replace(
        '["cp", "tiny.sys", "{out}/tiny.sys"]', '["sh", "-c", "echo tiny.c:3: no; exit 7"]'
    )
    (project.folder / "winvm.toml").write_text(broken)
    code, said = project.winvm("build")
    assert code == 2
    assert "The release build of tiny failed with exit code 7." in said
    assert "tiny.c:3: no" in said


def test_a_build_command_that_does_not_exist(project: Project) -> None:
    (project.folder / "winvm.toml").write_text(WINVM_TOML.replace('"cp"', '"no-such-compiler"'))
    code, said = project.winvm("build")
    assert (code, "'no-such-compiler' cannot be run" in said) == (2, True)


def test_a_build_that_leaves_no_driver(project: Project) -> None:
    (project.folder / "winvm.toml").write_text(
        WINVM_TOML.replace('"cp", "tiny.sys", "{out}/tiny.sys"', '"true"')
    )
    code, said = project.winvm("build")
    assert (code, "succeeded but left no" in said) == (2, True)


def test_a_driver_with_an_import_that_windows_lacks(project: Project) -> None:
    source = "__declspec(dllimport) void KeFlyToTheMoon(void);\n" + SOURCE.replace(
        "return 0;", "KeFlyToTheMoon(); return 0;"
    )
    library = import_library(project.folder, "ntoskrnl.exe", "KeFlyToTheMoon", "DbgPrint")
    build_tiny_driver(project.folder, source, libraries=[library])
    code, said = project.winvm("build")
    assert code == 2
    assert "imports KeFlyToTheMoon, which ntoskrnl.exe of Windows does not export" in said


def test_what_was_gathered_before_an_error_is_kept(project: Project) -> None:
    project.with_image()
    (project.folder / "winvm.toml").write_text(WINVM_TOML.replace('"cp"', '"false"'))
    code, said = project.winvm("run")
    assert (code, "failed with exit code 1" in said) == (2, True)
    latest = project.folder / "artifacts" / "latest"
    results = json.loads((latest / "results.json").read_text())
    assert results["scenarios"] == []
    last = [json.loads(line) for line in (latest / "run.jsonl").read_text().splitlines()][-1]
    assert (last["step"], last["ok"]) == ("build driver (release)", False)
    assert "failed with exit code 1" in results["broke_off"]
    report = (latest / "report.html").read_text()
    assert "<h1>The run was aborted</h1>" in report
    assert "failed with exit code 1" in report
