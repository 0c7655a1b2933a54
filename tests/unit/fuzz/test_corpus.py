"""The corpus: what is written is read again, and hostile files are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agent.fuzz.case import checked

from harness.errors import ConfigurationError
from harness.fuzz import corpus
from harness.fuzz.corpus import Case, Operation

OPEN = Operation(op="open", device=r"\??\Winvm")
CALL = Operation.model_validate({"op": "ioctl", "code": 0x222000, "in": "0102", "length": 9, "into": "null"})


def crash(**values: object) -> Case:
    return Case.model_validate({"signature": "c9-a.sys-Read", "operations": (OPEN, CALL), **values})


def test_a_case_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = Case(driver="winvm", operations=(OPEN, CALL))
    found = crash(what="it's \x1b[31mred", reproduced=2, replays=2)
    for case in (kept, found, kept):
        corpus.write(tmp_path, case)
    assert sorted(corpus.read(tmp_path).values(), key=lambda one: one.signature) == [kept, found]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert corpus.kept([found, kept]) == [kept]


def test_the_agent_takes_what_the_host_sends() -> None:
    assert checked(json.loads(crash().sent)) == corpus.documents((OPEN, CALL))


def test_each_operation_has_a_line() -> None:
    assert sum('"op"' in line for line in crash().text.splitlines()) == 2


def test_a_signature_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    written = corpus.write(tmp_path, crash(signature="../../etc/passwd"))
    assert written.parent == tmp_path


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"operations": []}'),
        b'{"format": 2, "operations": [{"op": "wait"}]}',
        b'{"operations": [{"op": "wait"}], "more": 1}',
        b'{"operations": [{"op": "format"}]}',
        b'{"operations": [{"op": "open", "device": "C:/x"}]}',
        b'{"operations": [{"op": "open", "device": "\\\\??\\\\a\\u0000b"}]}',
        b'{"operations": [{"op": "ioctl", "in": "0"}]}',
        b'{"operations": [{"op": "ioctl", "in": "%s"}]}' % (b"00" * 5000),
        b'{"operations": [{"op": "ioctl", "out": 99999999}]}',
        b'{"operations": [{"op": "ioctl", "code": "1"}]}',
        b'{"operations": [%s]}' % b",".join([b'{"op": "wait"}'] * 65),
        b'{"signature": "%s", "operations": [{"op": "wait"}]}' % (b"a" * 301),
        b" " * (corpus.FILE_LIMIT + 1),
    ],
    ids=range(19),
)
def test_a_file_that_is_no_case_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "foreign.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"foreign\.json"):
        corpus.read(tmp_path)


def test_links_are_not_followed_and_a_missing_folder_is_empty(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("no case")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "link.json").symlink_to(secret)
    assert corpus.read(tmp_path / "corpus") == {}
    assert corpus.read(tmp_path / "absent") == {}
    with pytest.raises(ConfigurationError, match="has no case"):
        corpus.scenarios(tmp_path / "absent")


def test_each_case_is_a_scenario_that_carries_its_operations(tmp_path: Path) -> None:
    file = corpus.write(tmp_path, crash())
    (scenario,) = corpus.scenarios(tmp_path)
    assert (scenario.name, scenario.kind, scenario.file) == (f"corpus.{file.stem}", "corpus", str(file))
    assert json.loads(scenario.case) == corpus.documents((OPEN, CALL))
    assert corpus.scenarios(file) == (scenario,)
