"""What a misspelt name is taken for."""

from __future__ import annotations

import pytest

from harness.display.suggestion import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "limit", "says"),
    [
        ("wien", ["windows-11", "wine"], 1, " Did you mean wine?"),
        ("WINE", ["windows-11", "wine"], 1, " Did you mean wine?"),
        ("xyzzy", ["windows-11", "wine"], 1, ""),
        ("tezt", ["basics.text", "basics.size"], 1, " Did you mean basics.text?"),
        ("text", ["a.text", "b.text", "c.next"], 2, " Did you mean a.text or b.text?"),
        ("tex", ["text1", "text2", "text3"], 3, " Did you mean text3, text2 or text1?"),
        ("", ["text"], 1, ""),
    ],
)
def test_the_names_most_like_it_are_asked_for(word: str, known: list[str], limit: int, says: str) -> None:
    assert did_you_mean(word, known, limit) == says


def test_a_hostile_length_costs_no_time() -> None:
    assert did_you_mean("a" * 1_000_000, ["b" * 1_000_000]) == ""
