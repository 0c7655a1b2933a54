"""What is refused before anything is built or started."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.journal import Journal
from harness.project import config
from harness.run.pipeline import prepare
from harness.run.plan import make_plan


@pytest.mark.parametrize(
    ("profile", "refused"),
    [
        ("wine-serial", "reached over a serial port, which works on this host"),
        ("windows-11", "kernel debugger"),
    ],
)
def test_a_port_that_no_tunnel_leads_to_is_refused_on_another_host(
    tmp_path: Path, profile: str, refused: str
) -> None:
    (tmp_path / "scenarios").mkdir()
    scenario = (
        'from agent import Context, scenario\n\n\n@scenario\ndef one(t: Context) -> None:\n    """One."""\n'
    )
    (tmp_path / "scenarios" / "mine.py").write_text(scenario)
    document = '[driver]\nname = "mine"\nbuilds = ["release"]\n[scenarios]\nfolders = ["scenarios"]\n'
    document += '[guest]\nuri = "qemu+ssh://root@192.0.2.1/system"\n'
    (tmp_path / "winvm.toml").write_text(document)
    plan = make_plan(config.load(tmp_path / "winvm.toml"), profile)
    with pytest.raises(ConfigurationError, match=refused):
        prepare(plan, Journal(tmp_path / "run.jsonl"))
