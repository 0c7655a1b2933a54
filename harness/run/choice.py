"""Which scenarios the words of a command line name: `winvm run basics.text_is_kept`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.display.suggestion import did_you_mean
from harness.errors import ConfigurationError
from harness.outcome import Scenario

SUGGESTED = 3
_NODE_ID = re.compile(r"::\w+\[(.+)\]$")


def named(
    scenarios: Sequence[Scenario], words: Iterable[str], elsewhere: Mapping[str, str] | None = None
) -> tuple[Scenario, ...]:
    """The scenarios that the words name, in their own order.

    A word is a scenario's name, with or without its case and its `@build`; a module (`basics`) or its file
    (`scenarios/basics.py`) for everything in it; a pattern with `*` and `?`; or the node id that pytest
    prints.

    Args:
        elsewhere: scenarios that the chosen builds leave out -> the build that they need.

    Raises:
        ConfigurationError: a word names no scenario.
    """
    chosen: set[str] = set()
    for word in words:
        found = [one.name for one in scenarios if _names(word, one)]
        if not found:
            raise _unknown(word, scenarios, elsewhere or {})
        chosen.update(found)
    return tuple(one for one in scenarios if one.name in chosen)


def _names(word: str, scenario: Scenario) -> bool:
    pasted = _NODE_ID.search(word)
    wanted = pasted[1] if pasted else word
    if wanted.endswith(".py"):
        return Path(wanted).absolute() == Path(scenario.file).absolute()
    plain, at, build = scenario.name.partition("@")
    function = plain.partition("[")[0]
    module = function.partition(".")[0]
    names = {form for one in (plain, function, module) for form in (one, f"{one}{at}{build}")}
    if wanted in names:
        return True
    if "*" not in wanted and "?" not in wanted:
        return False
    pattern = re.escape(wanted).replace(r"\*", ".*").replace(r"\?", ".")
    return any(re.fullmatch(pattern, name) for name in (plain, scenario.name))


def _unknown(word: str, scenarios: Sequence[Scenario], elsewhere: Mapping[str, str]) -> ConfigurationError:
    if build := elsewhere.get(word):
        return ConfigurationError(
            f"The scenario {word} runs against the build {build} only, which is not chosen.",
            remedy=f"Add --build {build}, or leave --build out.",
        )
    functions = dict.fromkeys(one.name.partition("@")[0].partition("[")[0] for one in scenarios)
    modules = () if "." in word else dict.fromkeys(name.partition(".")[0] for name in functions)
    known = [*modules, *functions, *(one.name for one in scenarios)]
    return ConfigurationError(
        f"There is no scenario {word!r}.{did_you_mean(word, known, SUGGESTED)}",
        remedy="`winvm list` shows all of them.",
    )
