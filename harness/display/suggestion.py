"""The sentence "Did you mean ...?" in messages about a name that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

ALIKE = 0.6
"""Similarity from which on a name may have been meant; `difflib`'s own default."""
LONGEST = 200
"""Characters of a name that are compared: comparing takes quadratic time."""


def did_you_mean(word: str, known: Iterable[str], limit: int = 1) -> str:
    """`" Did you mean irql?"` for the names most like `word`, at most `limit`; empty if none is like it.

    Upper and lower case count as equal. Of a dotted name the last part may be given alone.
    """
    by_form: dict[str, list[str]] = {}
    for name in known:
        for form in dict.fromkeys((name.lower(), name.lower().rpartition(".")[2])):
            by_form.setdefault(form[:LONGEST], []).append(name)
    like = difflib.get_close_matches(word.lower()[:LONGEST], by_form, limit, ALIKE)
    names = list(dict.fromkeys(name for form in like for name in by_form[form]))[:limit]
    if not names:
        return ""
    *others, last = names
    return f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
