"""Copies what a resumed run needs to the system disk: after a restart the CD may have another letter."""

from __future__ import annotations

from provision.machine import Machine
from provision.settings import FILE, Settings
from provision.steps import CopyFile

FOLDER = r"C:\winvm\provision"
PROGRAM = rf"{FOLDER}\provision.pyz"
PYTHON_FOLDER = r"C:\Python"
RESUME = rf"{PYTHON_FOLDER}\python.exe {PROGRAM} --resume {FOLDER}\{FILE}"


def stage(settings: Settings, source: str, program: str, python: str, machine: Machine) -> None:
    """Copies the settings, the files they name, the running program and its Python.

    Args:
        source: folder that holds provision.json.
        program: the zipapp that runs.
        python: folder of the Python that runs it.

    Raises:
        ProvisionError: a file is missing or cannot be copied.
    """
    if not _same(source, FOLDER):
        for name in (FILE, *settings.files):
            CopyFile(rf"{source}\{name}", rf"{FOLDER}\{name}").apply(machine)
        if settings.ssh and settings.ssh.bundle:
            machine.copy_folder(rf"{source}\{settings.ssh.bundle}", rf"{FOLDER}\{settings.ssh.bundle}")
    if not _same(program, PROGRAM):
        CopyFile(program, PROGRAM).apply(machine)
    if not _same(python, PYTHON_FOLDER):
        machine.copy_folder(python, PYTHON_FOLDER)


def _same(one: str, other: str) -> bool:
    return one.rstrip("\\").lower() == other.lower()
