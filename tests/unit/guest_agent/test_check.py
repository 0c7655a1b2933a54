"""Checks and verdicts: a failure says both values and shows the scenario's own frames."""

from __future__ import annotations

import pytest
from agent import NtStatusError, WaitTimeoutError, Win32Error, equal, one_of, raises_ntstatus, raises_win32
from agent.errors import SkipScenario
from agent.protocol import MAX_DETAIL, MAX_MESSAGE
from agent.verdict import ScenarioVerdict, verdict


def test_equal_names_both_values() -> None:
    equal(b"a", b"a")
    with pytest.raises(AssertionError, match=r"^bytes read: expected b'ab', got b'a'$"):
        equal(b"a", b"ab", "bytes read")


def test_a_long_value_is_cut() -> None:
    with pytest.raises(AssertionError) as raised:
        equal(b"x" * 100_000, b"", "output")
    assert len(str(raised.value)) < 1000
    assert "(100003 characters)" in str(raised.value)


def test_one_of() -> None:
    one_of(5, (5, 6))
    with pytest.raises(AssertionError, match=r"status: expected one of \(5, 6\), got 7"):
        one_of(7, (5, 6), "status")


def test_raises_win32_takes_the_expected_code_and_keeps_it() -> None:
    with raises_win32(5, 6) as raised:
        raise Win32Error(6, "CreateFile(x)")
    assert raised.code == 6
    assert raised.text == "CreateFile(x): ERROR_INVALID_HANDLE (6)"


def test_raises_win32_refuses_another_code_and_success() -> None:
    other = r"expected ERROR_ACCESS_DENIED 5, got .*ERROR_INVALID_HANDLE"
    with pytest.raises(AssertionError, match=other), raises_win32(5):
        raise Win32Error(6, "CreateFile(x)")
    none = "expected ERROR_ACCESS_DENIED 5, but the call succeeded"
    with pytest.raises(AssertionError, match=none), raises_win32(5):
        pass


def test_raises_win32_lets_other_errors_through() -> None:
    with pytest.raises(ValueError, match="other"), raises_win32():
        raise ValueError("other")


def test_raises_ntstatus_compares_unsigned() -> None:
    with raises_ntstatus(-0x3FFFFFDE) as raised:  # 0xC0000022 as C's signed NTSTATUS
        raise NtStatusError(0xC0000022, "NtCreateFile(x)")
    assert raised.code == 0xC0000022
    assert raised.text == "NtCreateFile(x): STATUS_ACCESS_DENIED (0xC0000022)"


def caught(error: BaseException) -> ScenarioVerdict:
    with pytest.raises(type(error)) as raised:
        raise error
    return verdict(raised.value)


def test_outcomes() -> None:
    assert caught(AssertionError("no")).outcome == "failed"
    assert caught(WaitTimeoutError("the read", 1.0)).outcome == "failed"
    assert caught(Win32Error(5, "x")).outcome == "error"
    assert caught(SkipScenario("why")) == ScenarioVerdict("skipped", "why")


def test_a_plain_assert_shows_its_line_and_the_variables() -> None:
    def body() -> None:
        answer = b"abc"
        assert answer == b"abd", ""

    with pytest.raises(AssertionError) as raised:
        body()
    ended = verdict(AssertionError().with_traceback(raised.value.__traceback__))
    assert ended.message == 'assert answer == b"abd", ""'
    assert "answer = b'abc'" in ended.detail


def test_a_failed_check_leaves_no_agent_frame() -> None:
    with pytest.raises(AssertionError) as raised, raises_win32(5):
        raise Win32Error(6, "CreateFile(x)")
    detail = verdict(raised.value).detail
    assert "guest/agent" not in detail
    assert "test_check.py" in detail


def test_message_and_detail_are_capped() -> None:
    ended = caught(ValueError("x" * 1_000_000))
    assert len(ended.message) <= MAX_MESSAGE
    assert len(ended.detail) <= MAX_DETAIL
    assert "characters left out" in ended.message


def test_a_repr_that_raises_does_not_lose_the_report() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError

    def body() -> None:
        bad = Bad()
        raise ValueError(id(bad))

    with pytest.raises(ValueError, match=r"\d+") as raised:
        body()
    assert "bad = <repr raised RuntimeError>" in verdict(raised.value).detail
