"""Writes docs/reference.md, the reference of what scenarios import from `agent`, from its docstrings.

    python -m tests.reference

The examples are scenarios of the sample driver, which `make vm-test` runs.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "guest"))

import agent  # noqa: E402  the path above leads to it
from agent.win32.event import Event  # noqa: E402
from agent.win32.memory import HeapMemory, Memory  # noqa: E402
from agent.win32.native import NativeDevice, NativeResult  # noqa: E402
from agent.win32.root_device import NodeStatus, RootDevice  # noqa: E402

TARGET = ROOT / "docs" / "reference.md"
EXAMPLES = ROOT / "guest" / "scenarios" / "examples.py"
HEAD = """# Reference of the agent

Written by `python -m tests.reference` from the docstrings in `guest/agent`; change it there.
[api.md](api.md) says what of it stays as it is, [own-driver.md](own-driver.md) how to begin.

- [Examples](#examples)
- [Functions](#functions)
- [Classes](#classes)

## Examples

Scenarios of the sample driver, from `guest/scenarios/examples.py`. They need these imports:
"""
RETURNED = (Event, Memory, HeapMemory, NativeDevice, NativeResult, RootDevice, NodeStatus)
"""Classes that scenarios get from a method and do not import."""
INTERNAL = ("listen", "finish", "close_leftovers")
"""Methods that the agent itself calls."""
BIG = 0xFFFF
_SECTION = re.compile(r"(Args|Attributes|Raises|Returns):")
_ITEM = re.compile(r"    ([\w, ]+?): (.*)")


def page() -> str:
    """The whole page."""
    objects = {name: getattr(agent, name) for name in agent.__all__}
    classes = {name: found for name, found in objects.items() if inspect.isclass(found)}
    functions = {name: found for name, found in objects.items() if name not in classes}
    takes_codes = ("raises_ntstatus", "raises_win32")  # classes that are used as functions
    functions |= {name: classes.pop(name) for name in takes_codes}
    classes |= {one.__name__: one for one in RETURNED}
    parts = [HEAD, *_examples(), "## Functions\n"]
    for name in sorted(functions):
        parts += [f"### `{name}{_signature(functions[name])}`\n", _text(functions[name])]
    parts.append("## Classes\n")
    for name in sorted(classes):
        parts += _class(name, classes[name])
    return "\n".join(parts).rstrip() + "\n"


def _examples() -> Iterator[str]:
    source = EXAMPLES.read_text(encoding="utf-8")
    imports = source[source.index("import struct") : source.index("\n\n\n@scenario")]
    yield f"```python\n{imports}\n```\n"
    for block in re.split(r"\n\n\n(?=@scenario)", source)[1:]:
        (name,) = re.findall(r"^def (\w+)\(t: Context", block, re.MULTILINE)
        yield f"### {name.replace('_', ' ').capitalize()}\n"
        yield f"```python\n{block.strip()}\n```\n"


def _class(name: str, kind: type) -> Iterator[str]:
    bases = [base.__name__ for base in kind.__bases__ if not base.__name__.startswith("_")]
    shown = [base for base in bases if base not in ("object", "IntEnum", "Handle")]
    yield f"### `{name}`\n"
    yield _text(kind)
    if shown and not issubclass(kind, Exception):
        yield f"Has everything of `{'` and `'.join(shown)}`, and:\n"
    for member, found in vars(kind).items():
        plain = found.__func__ if isinstance(found, classmethod) else found
        if member.startswith("_") or member in INTERNAL or not inspect.getdoc(found):
            continue
        if isinstance(plain, property):
            yield f"#### `{name}.{member}`\n"
            yield _text(plain.fget)
        elif inspect.isfunction(plain) and "scope" not in inspect.signature(plain).parameters:
            yield f"#### `{name}.{member}{_signature(plain)}`\n"
            yield _text(plain)


def _signature(found: Callable[..., object]) -> str:
    """`(path: str, *, overlapped: bool = False) -> Device`, as the source has it but for long numbers."""
    function: Callable[..., object] = vars(found)["__init__"] if inspect.isclass(found) else found
    signature = inspect.signature(function)
    shown: list[str] = []
    named_only = False
    for one in signature.parameters.values():
        if one.name in ("self", "cls"):
            continue
        if one.kind is one.KEYWORD_ONLY and not named_only:
            shown.append("*")
        named_only = named_only or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        star = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
        shown.append(f"{star}{one.name}: {one.annotation}{_default(one.default)}")
    returned = "" if signature.return_annotation == "None" else f" -> {signature.return_annotation}"
    return f"({', '.join(shown)}){returned}"


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return f" = {value:#x}" if type(value) is int and value > BIG else f" = {value!r}"


def _text(found: object) -> str:
    """A docstring as Markdown: its sections become lists."""
    lines, section = [], False
    for line in (inspect.getdoc(found) or "").splitlines():
        if heading := _SECTION.fullmatch(line):
            section = True
            lines += [f"{heading[1]}:", ""]
        elif section and (item := _ITEM.fullmatch(line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif section and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            section = False
            lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the page."""
    TARGET.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
