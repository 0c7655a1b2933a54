"""`record`: frozen data classes that cost next to nothing to declare.

`dataclasses.dataclass` compiles six functions for each class, and its module imports `inspect`; the dump
reader has some thirty classes. Measured on 2026-11-30, the whole process `winvm dump` of a 1.4 MB triage dump
executes 446 million instructions with records and 528 million with frozen dataclasses, 18 % more; the imports
alone take 42 ms of a busy processor, and 59 ms (first quartiles of 60 runs in turn). The limit is the time of
ntoseye, with which `make bench` compares.

A record has the methods of a frozen dataclass, as closures; `dataclasses.replace`, `fields` and `asdict` work
on it.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

_Record = TypeVar("_Record")


class _Fields:
    """Makes what the module `dataclasses` looks for, at the first use."""

    def __get__(self, instance: object, owner: type) -> dict[str, Any]:
        import dataclasses

        annotations: dict[str, Any] = {}
        for base in reversed(owner.__mro__):
            annotations |= vars(base).get("__annotations__", {})
        defaults = {name: getattr(owner, name) for name in annotations if hasattr(owner, name)}
        body = defaults | {"__annotations__": annotations, "__module__": owner.__module__}
        shape: Any = dataclasses.dataclass(type(owner.__name__, (), body))
        found = {field.name: field for field in dataclasses.fields(shape)}
        owner.__dataclass_fields__ = found  # type: ignore[attr-defined]
        return found


class _Parameters:
    """What `pprint` asks a data class for."""

    repr = True


@dataclass_transform(frozen_default=True)
def record(cls: type[_Record]) -> type[_Record]:
    """Makes a class with annotated fields a frozen data class. Default values must not be mutable.

    The fields of a record that it inherits from come first.
    """
    inherited = getattr(cls, "__match_args__", ())
    names = tuple(dict.fromkeys((*inherited, *vars(cls).get("__annotations__", {}))))
    known = frozenset(names)
    defaults = {name: getattr(cls, name) for name in names if hasattr(cls, name)}

    def initialise(self: object, *values: object, **named: object) -> None:
        state = self.__dict__
        state.update(zip(names, values, strict=False))
        if named or len(values) > len(names):
            if len(values) > len(names) or not named.keys() <= known or not named.keys().isdisjoint(state):
                raise TypeError(f"{cls.__name__}() takes {', '.join(names)}, each once.")
            state.update(named)
        if len(state) < len(names):
            for name in names:
                if name not in state:
                    if name not in defaults:
                        raise TypeError(f"{cls.__name__}() needs {name}.")
                    state[name] = defaults[name]

    def content(self: object) -> tuple[object, ...]:
        state = self.__dict__
        return tuple([state[name] for name in names])

    def equal(self: object, other: object) -> bool:
        return content(self) == content(other) if other.__class__ is self.__class__ else NotImplemented

    def shown(self: object) -> str:
        return f"{cls.__name__}({', '.join(f'{name}={self.__dict__[name]!r}' for name in names)})"

    def frozen(self: object, name: str, *value: object) -> None:  # noqa: ARG001
        raise AttributeError(f"{cls.__name__}.{name} cannot be changed: the record is frozen.")

    for name, method in (
        *(("__init__", initialise), ("__eq__", equal), ("__repr__", shown)),
        *(("__hash__", lambda self: hash(content(self))), ("__setattr__", frozen), ("__delattr__", frozen)),
        *(("__match_args__", names), ("__dataclass_fields__", _Fields())),
        ("__dataclass_params__", _Parameters),
    ):
        setattr(cls, name, method)
    return cls
