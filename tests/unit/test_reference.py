"""docs/reference.md is what the agent's docstrings say, and has an example of each kind of call."""

from __future__ import annotations

import re

import agent
import pytest

from tests import reference

PAGE = reference.TARGET.read_text(encoding="utf-8")
EXAMPLES = (
    "overlapped_io", "cancellation", "threads", "second_process", "events", "services", "raw_nt_calls",
)  # fmt: skip


def test_it_is_up_to_date(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update"):
        reference.main()
    assert reference.TARGET.read_text(encoding="utf-8") == reference.page(), "python -m tests.reference"


def test_every_public_name_has_an_entry() -> None:
    assert set(agent.__all__) <= set(re.findall(r"^### `(\w+)", PAGE, re.MULTILINE))


def test_every_kind_of_call_has_an_example_that_vm_test_runs() -> None:
    shown = re.findall(r"^@scenario.*\ndef (\w+)\(t: Context\)", PAGE, re.MULTILINE)
    assert tuple(shown) == EXAMPLES
    runs = (reference.ROOT / "tests" / "golden" / "scenarios" / "wine-runs.txt").read_text().split()
    assert {f"examples.{name}" for name in EXAMPLES} <= set(runs)


@pytest.mark.parametrize(
    "entry",
    [
        "### `program(path: str, *arguments: str, report: Report = '', exit_code: int = 0,",
        "#### `Operations.open(link: str, *, access: int = 0xc0000000, share: int = 3,",
        "#### `Pending.wait(timeout_s: float | None = None) -> bytes`",
        "#### `Device.ioctl(code: int, data: Data = b'', out: int = 0) -> bytes`",
        "- `WaitTimeoutError`: still pending after `timeout_s` seconds, or at the scenario's deadline.",
    ],
)
def test_an_entry_has_its_signature_and_what_it_raises(entry: str) -> None:
    assert entry in PAGE
