"""Parameters of scenarios: declared with their defaults in winvm.toml, given on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.display.suggestion import did_you_mean
from harness.errors import ConfigurationError
from harness.project.config import Parameter

_BOOLEANS = {"true": True, "false": False}


def parameters_of(
    declared: Mapping[str, Parameter], given: Iterable[str], option: str = "--param"
) -> dict[str, Parameter]:
    """The declared values with the given ones over them.

    Args:
        given: `name=value`; the value is read as the type of the declared default.
        option: the option by which they are given, as messages name it.

    Raises:
        ConfigurationError: no such parameter is declared, or the value is not of its type.
    """
    values = dict(declared)
    for text in given:
        name, equals, value = text.partition("=")
        if name in declared and not equals:
            raise ConfigurationError(
                f"{option} {text}: the parameter {name!r} has no value.", remedy=f"Give it as {name}=VALUE."
            )
        if not equals or name not in declared:
            known = ", ".join(declared) or "none"
            raise ConfigurationError(
                f"{option} {text}: there is no parameter {name!r}; declared are: {known}."
                f"{did_you_mean(name, declared)}",
                remedy="Declare it with its default under [parameters] in winvm.toml; give it as name=value.",
            )
        try:
            values[name] = _read(value, declared[name])
        except (KeyError, ValueError) as error:
            default = declared[name]
            kind = "true or false" if isinstance(default, bool) else f"of type {type(default).__name__}"
            raise ConfigurationError(
                f"{option} {text}: the value must be {kind}, like its default {default!r}."
            ) from error
    return values


def _read(text: str, default: Parameter) -> Parameter:
    if isinstance(default, bool):
        return _BOOLEANS[text]
    if isinstance(default, int):
        return int(text, 0)
    return type(default)(text)
