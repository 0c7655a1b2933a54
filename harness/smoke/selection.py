"""Which scenarios `-k` and `-m` choose, with pytest's expressions but without a pytest session."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from _pytest.mark.expression import Expression

from harness.errors import ConfigurationError
from harness.outcome import Scenario

DEFAULT_MARKER = "smoke"


def select(scenarios: Sequence[Scenario], keyword: str | None, marker: str | None) -> tuple[Scenario, ...]:
    """The chosen scenarios, in their order; without either option, those tagged `smoke`.

    Args:
        keyword: as pytest's `-k`: each word is searched in the name, kind and tags, ignoring case.
        marker: as pytest's `-m`: each word is a kind or tag.

    Raises:
        ConfigurationError: an expression is invalid, or chooses no scenario.
    """
    if keyword is None and marker is None:
        marker = DEFAULT_MARKER
    named = _compiled("-k", keyword)
    marked = _compiled("-m", marker)
    chosen = tuple(
        scenario
        for scenario in scenarios
        if named(lambda word, of=scenario: any(word.lower() in text.lower() for text in (of.name, *of.marks)))  # type: ignore[misc]
        and marked(lambda word, of=scenario: word in of.marks)  # type: ignore[misc]
    )
    if not chosen:
        asked = " ".join(f"{option} {text!r}" for option, text in (("-k", keyword), ("-m", marker)) if text)
        raise ConfigurationError(
            f"No scenario is chosen by {asked}.",
            remedy='Choose others with -k or -m, or tag some: @scenario(tags=("smoke",)).',
        )
    return chosen


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
