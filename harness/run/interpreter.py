"""Turns the interpreter that waits in a saved guest into the agent, or another one if that is gone.

Windows ends a WinRM shell that was idle for too long, and the clock of a restored guest jumps by weeks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.agent.session import start_agent
from harness.guests.protocol import StartsInterpreter
from harness.transports.wsman import ShellNotFoundError

if TYPE_CHECKING:
    from harness.deadline import Deadline
    from harness.guests.protocol import Link


def started(link: Link, standby: Mapping[str, str], zipapp: str, deadline: Deadline) -> Mapping[str, str]:
    """Starts the agent `zipapp` (a guest path); returns what finds its interpreter from now on.

    Raises:
        ShellNotFoundError: the saved interpreter is gone, and the guest cannot be given another.
        AgentError, DeadlineError, TransportError: see `start_agent`.
    """
    try:
        start_agent(link.agent(standby), zipapp, deadline)
    except ShellNotFoundError:
        if not isinstance(link, StartsInterpreter):
            raise
        standby = link.new_interpreter(deadline)
        start_agent(link.agent(standby), zipapp, deadline)
    return standby
