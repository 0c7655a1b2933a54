"""Property functions of MSBuild: methods of String that projects call on a property.

`$(Name.Replace('a','b'))` is one: https://learn.microsoft.com/visualstudio/msbuild/property-functions. Static
functions, of .NET and of MSBuild itself, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

CALL = re.compile(r"\$\((?P<name>\w+)\.(?P<method>\w+)\((?P<arguments>[^()]*)\)\)")
_ARGUMENT = re.compile(
    r"\s*(?:'(?P<single>[^']*)'|\"(?P<double>[^\"]*)\"|`(?P<back>[^`]*)`|(?P<plain>[^,]*))\s*(?:,|$)"
)


def _substring(text: str, start: str, length: str = "") -> str:
    first = int(start)
    if not 0 <= first <= len(text) or (length and not 0 <= int(length) <= len(text) - first):
        raise ValueError(start)
    return text[first : first + int(length)] if length else text[first:]


def _replace(text: str, old: str, new: str) -> str:
    if not old:
        raise ValueError(old)
    return text.replace(old, new)


_METHODS: Mapping[str, Callable[..., str]] = {
    "replace": _replace,
    "substring": _substring,
    "tolower": lambda text: text.lower(),
    "tolowerinvariant": lambda text: text.lower(),
    "toupper": lambda text: text.upper(),
    "toupperinvariant": lambda text: text.upper(),
    "trim": lambda text, *characters: text.strip("".join(characters) or None),
    "trimend": lambda text, *characters: text.rstrip("".join(characters) or None),
    "trimstart": lambda text, *characters: text.lstrip("".join(characters) or None),
}
"""Method in lower case -> function of the property's value and the arguments."""


def called(value: str, method: str, arguments: str) -> str | None:
    """What a method of String returns for a property's value; None for one that is unknown or called wrongly.

    Args:
        arguments: the text between the parentheses, properties in it replaced already.
    """
    function = _METHODS.get(method.lower())
    if function is None:
        return None
    try:
        return function(value, *_split(arguments))
    except (TypeError, ValueError):
        return None


def _split(text: str) -> list[str]:
    found: list[str] = []
    position = 0
    while position < len(text):
        match = _ARGUMENT.match(text, position)
        if match is None or match.end() == position:
            raise ValueError(text)
        quoted = [match[group] for group in ("single", "double", "back") if match[group] is not None]
        found.append(quoted[0] if quoted else match["plain"].strip())
        position = match.end()
    return found
