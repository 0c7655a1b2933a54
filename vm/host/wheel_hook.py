"""Build hook: ships guest/agent as the stub package `agent-stubs`, so that scenarios type-check.

Scenarios import `agent`, which exists in the guest alone. A stub-only package (PEP 561) is read by type
checkers and editors, and is never imported: a project's own `agent` package stays what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AgentStubs(BuildHookInterface):  # type: ignore[type-arg,misc,unused-ignore]  # hatchling is there only in a build
    """Adds every module of the agent as a .pyi file, to the wheel and to an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files."""
        agent = Path(self.root) / "guest" / "agent"
        stubs = {
            str(source): f"agent-stubs/{source.relative_to(agent).with_suffix('.pyi').as_posix()}"
            for source in sorted(agent.rglob("*.py"))
        }
        kind = "force_include_editable" if version == "editable" else "force_include"
        build_data.setdefault(kind, {}).update(stubs)
