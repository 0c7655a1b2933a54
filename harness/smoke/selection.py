"""Which scenarios names, `-k` and `-m` choose, with pytest's expressions but without a pytest session."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from _pytest.mark.expression import Expression

from harness.display.suggestion import did_you_mean
from harness.errors import ConfigurationError
from harness.outcome import Scenario
from harness.run.choice import named

DEFAULT_MARKER = "smoke"


def select(
    scenarios: Sequence[Scenario],
    keyword: str | None,
    marker: str | None,
    words: Sequence[str] = (),
    default: str | None = DEFAULT_MARKER,
) -> tuple[Scenario, ...]:
    """The chosen scenarios, in their order.

    Args:
        words: names, see `harness.run.choice.named`; empty for all.
        default: the marker where neither words nor an option choose.
        keyword: as pytest's `-k`: each word is searched in the name, kind and tags, ignoring case.
        marker: as pytest's `-m`: each word is a kind or tag.

    Raises:
        ConfigurationError: an expression is invalid, or a name or the whole choice means no scenario.
    """
    if keyword is None and marker is None and not words:
        marker = default
    known = scenarios
    scenarios = named(scenarios, words) if words else scenarios
    holds, marked = _compiled("-k", keyword), _compiled("-m", marker)
    chosen = tuple(
        one
        for one in scenarios
        if holds(lambda word, of=one: any(word.lower() in text.lower() for text in (of.name, *of.marks)))  # type: ignore[misc]
        and marked(lambda word, of=one: word in of.marks)  # type: ignore[misc]
    )
    if not chosen:
        remedy = 'Choose others with -k or -m, or tag some: @scenario(tags=("smoke",)).'
        raise nothing_chosen(known, keyword, marker, words, remedy)
    return chosen


def nothing_chosen(
    scenarios: Sequence[Scenario],
    keyword: str | None,
    marker: str | None,
    words: Sequence[str],
    remedy: str,
) -> ConfigurationError:
    """The error for a choice that fits no scenario; a misspelt name or tag is named."""
    asked = [*words, *(f"{option} {text!r}" for option, text in (("-k", keyword), ("-m", marker)) if text)]
    names = {one.name for one in scenarios}
    marks = {mark for one in scenarios for mark in one.marks}
    meant = did_you_mean(keyword or "", names) or did_you_mean(marker or "", marks)
    by = f" Nothing matches {' '.join(asked)}." if asked else ""
    return ConfigurationError(f"No scenario is chosen.{by}{meant}", remedy=remedy)


def _compiled(option: str, text: str | None) -> Callable[[Callable[[str], bool]], bool]:
    if text is None:
        return lambda _: True
    try:
        expression = Expression.compile(text)
    except Exception as error:  # pytest 8 and 9 raise classes of different names
        raise ConfigurationError(f"{option} {text!r}: {error}.", remedy="See pytest's manual.") from error

    def evaluate(matches: Callable[[str], bool]) -> bool:
        return expression.evaluate(lambda word, /, **_: matches(word))

    return evaluate
