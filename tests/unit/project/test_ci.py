"""`winvm init --ci`: a workflow for the user's driver, which GitHub and GitLab accept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.cli import COMMANDS
from harness.errors import ConfigurationError
from harness.project import config
from harness.project.ci import FORGES, write_workflow
from tests.unit.project.test_scaffold import winvm

SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
TOML = '[driver]\nname = "mine"\nbuilds = ["release", "1-0", "on"]\n'


def written(folder: Path, forge: str, toml: str = TOML) -> Path:
    """The workflow of a project in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "winvm.toml").write_text(toml)
    found = write_workflow(
        forge, config.load(folder / "winvm.toml"), lambda profile: f"{profile}-0123456789ab"
    )
    (path,) = found.new
    return path


def commands(document: Any) -> list[str]:
    """Every shell line of a workflow."""
    if isinstance(document, list):
        return [line for item in document for line in commands(item)]
    if not isinstance(document, dict):
        return []
    found: list[str] = []
    for key, value in document.items():
        if key in ("run", "before_script", "script", "after_script") and not isinstance(value, dict):
            found += value.splitlines() if isinstance(value, str) else value
        else:
            found += commands(value)
    return found


@pytest.mark.parametrize("forge", FORGES)
def test_the_forge_accepts_it(tmp_path: Path, forge: str) -> None:
    path = written(tmp_path, forge)
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[forge], str(path)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WINVM_GUEST" not in path.read_text()


@pytest.mark.parametrize("forge", FORGES)
def test_it_does_what_a_user_wants_of_it(tmp_path: Path, forge: str) -> None:
    document = YAML(typ="safe").load(written(tmp_path, forge))
    lines = commands(document)
    for line in lines:
        subprocess.run(["sh", "-n", "-c", line], check=True, timeout=10)
    said = "\n".join(lines)
    for needed in (
        "winvm==",
        "winvm host install",
        'winvm image build "$GUEST"',
        'winvm run --guest "$GUEST" --build "$BUILD"',
        "winvm bisect last-good HEAD",
    ):
        assert needed in said
    assert {line.split()[1] for line in lines if line.startswith("winvm ")} <= set(COMMANDS)


def test_the_matrix_has_the_projects_builds_as_text(tmp_path: Path) -> None:
    document = YAML(typ="safe").load(written(tmp_path, "github"))
    assert document["jobs"]["driver"]["strategy"]["matrix"] == {
        "guest": ["wine"],
        "build": ["release", "1-0", "on"],
    }
    document = YAML(typ="safe").load(written(tmp_path, "gitlab"))
    (cell,) = document["driver"]["parallel"]["matrix"]
    assert cell == {"GUEST": "wine", "IMAGE_KEY": "wine-0123456789ab", "BUILD": ["release", "1-0", "on"]}


@pytest.mark.parametrize("forge", FORGES)
def test_a_project_below_its_repositorys_root(tmp_path: Path, forge: str) -> None:
    (tmp_path / ".git").mkdir()
    path = written(tmp_path / "drivers" / "mine", forge)
    assert path == tmp_path / FORGES[forge]
    text = path.read_text()
    assert "drivers/mine/artifacts/history.sqlite" in text
    assert "working-directory: drivers/mine" in text or "- cd drivers/mine" in text


@pytest.mark.parametrize("forge", FORGES)
def test_nothing_is_overwritten(tmp_path: Path, forge: str) -> None:
    path = written(tmp_path, forge)
    path.write_text("mine")
    found = write_workflow(forge, config.load(tmp_path / "winvm.toml"), str)
    assert (found.new, found.kept, path.read_text()) == ((), (path,), "mine")


def test_what_cannot_stand_in_a_workflow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot name without quotes"):
        written(tmp_path / "of mine", "github", TOML + '[artifacts]\nfolder = "my: artifacts"\n')
    with pytest.raises(ConfigurationError, match="outside the repository"):
        written(tmp_path / "outside", "github", TOML + '[artifacts]\nfolder = "../artifacts"\n')


def test_the_command_writes_it_beside_the_first_scenarios(tmp_path: Path) -> None:
    done = winvm(tmp_path, "init", "--name", "mine", "--ci", "github")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / FORGES["github"]).is_file()
    assert "wrote  .github/workflows/winvm.yml\n" in done.stdout
    assert (tmp_path / "scenarios" / "example.py").is_file()
    again = winvm(tmp_path, "init", "--ci", "github")
    assert "The workflow exists already" in again.stdout


def test_a_project_gets_the_workflow_alone(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_text(TOML)
    done = winvm(tmp_path, "init", "--ci", "gitlab")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "wrote  .gitlab-ci.yml")
    assert {path.name for path in tmp_path.iterdir()} == {"winvm.toml", ".gitlab-ci.yml"}


def test_the_key_of_an_image(tmp_path: Path) -> None:
    key = winvm(tmp_path, "image", "key").stdout
    assert key.startswith("wine-") and len(key) == len("wine-0123456789ab\n")
    assert winvm(tmp_path, "image", "key", "wine-console").stdout == key
    done = winvm(tmp_path, "image", "key", "windows-11")
    assert (done.returncode, done.stdout) == (2, "")
    assert "files of your own" in done.stderr
