"""Files and a script of the user's own: copied to C:\\winvm\\files, and run once there, as SYSTEM.

The script may restart nothing: the steps after it would be lost. Its exit code must be 0.
"""

from __future__ import annotations

from provision.machine import Kind, RegistryData
from provision.settings import Own, Settings
from provision.staging import PYTHON_FOLDER
from provision.steps import Command, CopyFile, Digest, Setting, SetValue, Step, Value
from provision.supplied import Supplied

FOLDER = r"C:\winvm\files"
STATE, RAN = r"SOFTWARE\winvm", "OwnScript"
SCRIPT_S = 1500.0  # less than the half hour without progress after which the host gives up


def steps(settings: Settings, files: Supplied) -> list[Step]:
    """Empty when the settings have no `own`."""
    own = settings.own
    if own is None:
        return []
    copied = tuple(_copied(files, name) for name in own.files)
    found = [Step("own files", copied)]
    return [*found, Step("own script", (_script(own, files),), restart=True)] if own.script else found


def _copied(files: Supplied, name: str) -> Setting:
    path = rf"{FOLDER}\{name}"
    return Setting(name, frozenset({files.sha256(name)}), Digest(path), (CopyFile(files.path(name), path),))


def _script(own: Own, files: Supplied) -> Setting:
    """Remembered by its digest: another script runs again, this one does not."""
    path = rf"{FOLDER}\{own.script}"
    ran = RegistryData(Kind.SZ, files.sha256(own.script))
    run = Command((*_interpreter(own.script), path), timeout_s=SCRIPT_S)
    return Setting(own.script, frozenset({str(ran)}), Value(STATE, RAN), (run, SetValue(STATE, RAN, ran)))


def _interpreter(script: str) -> tuple[str, ...]:
    if script.lower().endswith(".ps1"):
        return ("powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File")
    return (rf"{PYTHON_FOLDER}\python.exe",) if script.lower().endswith(".py") else ("cmd.exe", "/c")
