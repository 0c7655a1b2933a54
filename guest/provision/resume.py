"""A scheduled task that continues the provisioning after every start of Windows, also without a logon.

Source: Microsoft Learn: schtasks create. The task runs as SYSTEM: it needs no password and no autologon.
"""

from __future__ import annotations

from provision.steps import Command, Failure, Output, Setting, Step

TASK = "winvm-provision"
CONFIGURATION = "winvm-configuration"
"""The task that the first logon plans (vm/windows/start.cmd); it starts a provisioning's first process."""
NOT_FOUND = 1  # exit code of /query for a task that does not exist
SHUTDOWN_TIMEOUT_S = 60.0
DELAY = "0001:00"  # minutes and seconds; the services that the steps use start before

RESTART = Command(("shutdown.exe", "/r", "/f", "/t", "0"), timeout_s=SHUTDOWN_TIMEOUT_S)
SHUT_DOWN = Command(("shutdown.exe", "/s", "/f", "/t", "0"), timeout_s=SHUTDOWN_TIMEOUT_S)


def planned(command_line: str) -> Step:
    """Creates the task; without it a restart would stop the provisioning half-way."""
    when = ("/sc", "onstart", "/delay", DELAY, "/ru", "SYSTEM", "/rl", "highest")
    create = Command(("schtasks.exe", "/create", "/tn", TASK, "/tr", command_line, *when, "/f"))
    setting = Setting(TASK, frozenset({TASK}), _query(TASK), (create,))
    return Step("resume task", (setting,), failure=Failure.STOP)


def forgotten() -> Step:
    """Deletes the task, and the one that began the provisioning."""
    return Step("resume task removed", (_removed(CONFIGURATION), _removed(TASK)))


def _removed(task: str) -> Setting:
    delete = Command(("schtasks.exe", "/delete", "/tn", task, "/f"))
    return Setting(f"no {task}", frozenset(), _query(task), (delete,))


def _query(task: str) -> Output:
    return Output(
        Command(("schtasks.exe", "/query", "/tn", task, "/fo", "csv", "/nh"), ok=(0, NOT_FOUND)), task
    )
