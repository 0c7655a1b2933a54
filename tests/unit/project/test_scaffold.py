"""`winvm init` and `winvm new-driver`: the files are correct and complete, and overwrite nothing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.contract import render
from harness.errors import ConfigurationError
from harness.journal import Journal
from harness.project import config
from harness.project.scaffold import project_name, write_driver, write_project
from harness.run.plan import make_plan
from harness.toolchain.builds import build_drivers

ROOT = Path(__file__).resolve().parents[3]


def winvm(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "tiny_echo"
    write_driver(folder, "tiny_echo")
    return folder


def make(driver: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["make", *arguments], cwd=driver, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_new_driver_builds_at_once_and_a_second_make_does_nothing(driver: Path) -> None:
    make(driver)
    built = [
        driver / "build" / build / f"tiny_echo.{kind}"
        for build in ("release", "checked")
        for kind in ("sys", "pdb")
    ]
    assert all(path.is_file() for path in built)
    assert "CC" not in make(driver)


def test_it_is_signed_and_passes_the_static_checks(driver: Path) -> None:
    loaded = config.load(driver / "winvm.toml")
    drivers = build_drivers(loaded, None, Journal())
    assert list(drivers) == ["release", "checked"]
    assert drivers["release"].read_bytes() != drivers["checked"].read_bytes()


def test_its_contract_is_current_and_stays_so(driver: Path) -> None:
    header = driver / "include" / "tiny_echo_contract.h"
    arguments = ["--header", str(header), "--prefix", "TINY_ECHO", "--output"]
    assert render.main([*arguments, str(driver / "scenarios" / "contract.py"), "--check"]) == 0
    before = header.read_text()
    try:
        header.write_text(before.replace("TEXT_LIMIT, 256)", "TEXT_LIMIT, 128)"))
        make(driver)
        assert "TEXT_LIMIT = 128" in (driver / "scenarios" / "contract.py").read_text()
    finally:
        header.write_text(before)
        make(driver)


def test_it_is_compiled_by_winvm_itself_as_its_winvm_toml_explains(tmp_path: Path) -> None:
    folder = tmp_path / "tiny_echo"
    write_driver(folder, "tiny_echo")
    text = (folder / "winvm.toml").read_text()
    lines = text.splitlines()
    explained = "\n".join(
        line.removeprefix("#") for line in lines if line.startswith(("#     ", "#         "))
    )
    commands = explained.replace("python ", f"{shlex.quote(sys.executable)} ")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["sh", "-ec", commands], cwd=folder, env=environment, check=True, capture_output=True)
    kept = [line for line in lines if not line.startswith(("folder = ", "build = "))]
    text = "\n".join(kept).replace("# sources =", "sources =").replace("# include =", "include =")
    sources, include = text.index("sources = "), text.index("include = ")
    added = text[sources : text.index("\n", include)]
    text = text.replace(added, "").replace("[driver]\n", f"[driver]\n{added}\n")
    (folder / "winvm.toml").write_text(text)
    drivers = build_drivers(config.load(folder / "winvm.toml"), None, Journal())
    assert drivers["release"].read_bytes() != drivers["checked"].read_bytes()


def test_its_three_scenarios_are_collected(driver: Path) -> None:
    plan = make_plan(config.load(driver / "winvm.toml"), None)
    names = {scenario.name for scenario in plan.scenarios}
    assert names == {"basics.text_is_kept", "basics.lengths_are_checked", "basics.bugcheck_on_request"}
    assert any("smoke" in scenario.tags for scenario in plan.scenarios)  # or `winvm smoke` finds nothing


def test_nothing_of_the_template_shows(driver: Path) -> None:
    shown = [path for path in driver.rglob("*") if path.suffix in {".c", ".h", ".py", ".toml", ".mk", ""}]
    texts = [path.name + path.read_text() for path in shown if path.is_file() and "build" not in path.parts]
    assert len(texts) > 8
    assert not [text for text in texts if re.search("skeleton", text, re.IGNORECASE)]


def test_an_existing_folder_is_left_alone(driver: Path) -> None:
    with pytest.raises(ConfigurationError, match="not empty"):
        write_driver(driver, "tiny_echo")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (name, "cannot be the name of a driver.")
        for name in ("", "Echo", "1echo", "echo-driver", "a__b", "../x")
    ]
    + [("x" * 33, "at most 32")]
    + [
        (name, "or winvm reserves it")
        for name in ("class", "int", "skeleton", "winvm", "con", "com1", "lpt0")
    ],
)
def test_a_name_that_cannot_be_a_drivers_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        write_driver(tmp_path / "new", name)
    assert says in str(refused.value) + refused.value.remedy
    assert not (tmp_path / "new").exists()


def test_init_writes_a_project_that_can_be_collected(tmp_path: Path) -> None:
    folder = tmp_path / "my-driver"
    folder.mkdir()
    done = winvm(folder, "init")
    assert done.returncode == 0, done.stderr
    assert "Next:" in done.stdout
    loaded = config.load(folder / "winvm.toml")
    assert loaded.driver.name == "my_driver"
    (example,) = make_plan(loaded, None).scenarios
    assert example.name == "example.driver_runs"
    assert "smoke" in example.tags


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_text("# mine\n")
    written = write_project(tmp_path, "mine")
    assert written.kept == (tmp_path / "winvm.toml",)
    assert (tmp_path / "winvm.toml").read_text() == "# mine\n"
    (tmp_path / "scenarios" / "example.py").write_text("# mine\n")
    assert write_project(tmp_path, "mine").new == ()
    assert (tmp_path / "scenarios" / "example.py").read_text() == "# mine\n"
    assert "Every file exists already" in winvm(tmp_path, "init").stdout


def test_init_explains_every_key_with_its_default(tmp_path: Path) -> None:
    write_project(tmp_path, "mine")
    text = (tmp_path / "winvm.toml").read_text()
    shown = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    for section, field in config.Config.model_fields.items():
        if section in ("root", "parameters"):
            continue
        model = type(field.default)
        assert set(shown[section]) == set(model.model_fields), section
        defaults = field.default.model_dump(mode="json", exclude_none=True)
        for key, value in defaults.items():
            if key not in {"name", "folders", "prebuilt", "inf"}:
                assert shown[section][key] == value, key
    assert config.load(tmp_path / "winvm.toml").driver.name == "mine"


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Driver 2", "my_driver_2"), ("42", "mydriver"), ("int", "mydriver"), ("9lives", "lives")],
)
def test_a_project_is_named_after_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    assert project_name(tmp_path / folder) == name
