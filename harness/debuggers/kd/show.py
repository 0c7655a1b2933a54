"""Formats an event of kernel debugging as one line, which may hold hostile text that is not printable yet."""

from __future__ import annotations

from collections.abc import Mapping

_LONG = ("registers", "stack", "frames", "stacks", "modules", "from", "sequence")


def summary_line(kind: str, fields: Mapping[str, object]) -> str:
    """Kind and fields; long lists are left out or counted."""
    if kind == "bugcheck":
        parameters = fields["parameters"]
        assert isinstance(parameters, list)
        shown = ", ".join(f"{value:#x}" for value in parameters)
        modules = fields.get("modules")
        count = f", {len(modules)} modules loaded" if isinstance(modules, list) else ""
        where = f" at {fields['fault']}" if "fault" in fields else ""
        if "culprit" in fields and fields.get("fault") != fields["culprit"]:
            where += f", by {fields['culprit']}" + (" (a guess)" if "culprit_guessed" in fields else "")
        name = f": {fields['name']}" if fields.get("name", "UNKNOWN") != "UNKNOWN" else ""
        meaning = f": {fields['explanation']}" if "explanation" in fields else ""
        return f"bugcheck {fields['code']:#x} ({shown}){where}{count}{name}{meaning}"
    if kind == "wrong-key":
        return f"wrong key: datagrams from {fields['source']} were made with another key; they are ignored"
    if kind == "taken-back":
        return f"taken-back from {fields['from']}"
    if kind == "attached":
        return f"attached to {fields['source']}" + (": target restarted" if fields.get("restarted") else "")
    parts = [f"{name} {_value(value)}" for name, value in fields.items() if name not in _LONG]
    return f"{kind} {', '.join(parts)}"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_value(one)}" for name, one in value.items()) + ")"
    if isinstance(value, list):
        return "(" + ", ".join(_value(one) for one in value) + ")"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    return str(value)
