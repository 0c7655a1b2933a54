"""A driver that overruns its stack: noticed in the scenario that made it, and named by its own function."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.overrun_driver import write_overrun_driver
from tests.vm.conftest import CommandLine


def test_an_overrun_names_the_function_of_the_driver(winvm: CommandLine, tmp_path: Path) -> None:
    folder = write_overrun_driver(tmp_path / "overrun")
    done = winvm.run("--config", str(folder / "winvm.toml"), "run", "--json", timeout=600)
    results = {one["name"]: one for one in json.loads(done.stdout)["scenarios"]}
    seen = {
        name.partition(".")[2]: (one["outcome"], (one["crash"] or {}).get("signature"))
        for name, one in results.items()
    }
    assert seen == {
        "overrun[a_little]": ("crashed", "c0000005-overrun.sys-Telling"),
        "overrun[far]": ("crashed", "c0000005-overrun.sys-Telling"),
        "overrun[silent]": ("crashed", "c0000005-overrun.sys-Control"),
        "untouched": ("passed", None),
    }, done.stderr.decode()
    cause = results["overrun.overrun[a_little]"]["crash"]["cause"]
    assert cause.startswith(
        "A function returned to address 0x4242424242424242: the return address on its stack"
    )
    assert done.returncode == 4
