"""Entry of the zipapp.

    python.exe provision.pyz D:\\winvm\\provision.json               provision, restart, resume, shut down
    python.exe provision.pyz --no-restart C:\\winvm\\provision.json  change and check only
    python3 provision.pyz --check provision.json                   on any system: check the settings only

Exit codes: 0 all settings are as wanted, 1 some are not, 2 provision.json cannot be used, 3 a restart is
needed but was not allowed, 4 a restart is under way.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from provision.journal import WHOLE, Journal, WriteLine
from provision.machine import Machine, ProvisionError
from provision.runner import Outcome, Provisioner
from provision.settings import Settings, SettingsError, parse
from provision.staging import FOLDER, RESUME, stage
from provision.supplied import supplied

UNUSABLE = 2
DEFAULT_PORT = "COM2"  # the journal's port while provision.json, which names it, cannot be used
JOURNAL_FILE = rf"{FOLDER}\journal.jsonl"


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = parse(options.settings.read_bytes())
    except (OSError, SettingsError) as error:
        print(error, file=sys.stderr)
        if sys.platform == "win32" and not options.check:
            _journal(DEFAULT_PORT, ()).write(WHOLE, "start", "failed", message=str(error))
        return UNUSABLE
    if options.check:
        return 0
    if sys.platform == "win32":
        from provision.windows import WindowsMachine

        return _provision(settings, options, WindowsMachine()).value
    sys.stderr.write("Only Windows can be provisioned; --check works everywhere.\n")
    return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provision.pyz", description="Prepares Windows for the bench.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="read the settings and do nothing else")
    mode.add_argument("--no-restart", action="store_true", help="neither restart nor shut down")
    mode.add_argument("--resume", action="store_true", help="carry on after a restart")
    parser.add_argument("settings", type=Path, help="provision.json")
    return parser


def _provision(settings: Settings, options: argparse.Namespace, machine: Machine) -> Outcome:
    journal = _journal(settings.journal, settings.secrets)
    system = f"profile {settings.profile}, {platform.platform()}, Python {platform.python_version()}"
    journal.write(WHOLE, "start", "resumed" if options.resume else "running", message=system)
    try:
        # The zipapp itself is where this package was imported from.
        program = str(Path(__file__).absolute().parents[1])
        stage(settings, str(options.settings.absolute().parent), program, sys.base_prefix, machine)
        files = supplied(settings, FOLDER, machine)
        resume = "" if options.no_restart else RESUME
        return Provisioner(settings, files, machine, journal, resume, options.resume).run()
    except ProvisionError as error:
        journal.write(WHOLE, "end", "failed", message=str(error))
        return Outcome.FAILED
    except Exception as error:
        journal.write(WHOLE, "end", "failed", message=f"internal error: {error!r}")
        raise


def _journal(port: str, secrets: Sequence[str]) -> Journal:
    """A journal to the port and to a file; a missing port is reported on stderr and left out."""
    sinks: list[WriteLine] = []
    if sys.platform == "win32":
        from provision.serialport import SerialPort

        try:
            sinks.append(SerialPort(port).write)
        except OSError as error:
            print(f"no journal on {port}: {error}", file=sys.stderr)
    Path(JOURNAL_FILE).parent.mkdir(parents=True, exist_ok=True)
    return Journal([*sinks, _append], secrets)


def _append(line: bytes) -> None:
    """Opens and closes the file for each line, so that a line is not lost if this process ends."""
    with Path(JOURNAL_FILE).open("ab") as file:
        file.write(line)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
