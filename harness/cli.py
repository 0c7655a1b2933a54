"""The `winvm` command: names, help texts and where each command lives. Commands are imported when called."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

import click

COMMANDS = {
    "doctor": ("harness.commands.doctor", "Check whether this host has everything that winvm needs."),
    "host": ("harness.commands.host", "Install the packages that winvm needs on this host."),
    "build": ("harness.commands.build", "Build, sign and inspect the driver."),
    "init": ("harness.commands.scaffold", "Write winvm.toml, an example scenario and a test file here."),
    "new-driver": ("harness.commands.scaffold", "Write a small driver with its scenarios into a new folder."),
    "image": ("harness.commands.image", "Build and list guest images."),
    "run": ("harness.commands.run", "Run scenarios in a fresh guest."),
    "list": ("harness.commands.listing", "List the scenarios, with file, tags and capabilities."),
    "nightly": ("harness.commands.nightly", "Run the whole matrix and report what is new since last night."),
    "smoke": ("harness.commands.smoke", "Run a quick subset in a guest that is kept warm."),
    "fuzz": ("harness.commands.fuzz", "Fuzz the driver, guided by the code that operations reach."),
    "up": ("harness.commands.live", "Start a guest with the driver loaded, and leave it running."),
    "down": ("harness.commands.live", "End every guest that `up` or `smoke` left behind."),
    "bisect": ("harness.commands.bisect", "Find the first bad commit, in a warm guest."),
    "compare": ("harness.commands.compare", "Compare two builds or commits, in turns, in a warm guest."),
    "report": ("harness.commands.report", "Write a run's report.html again."),
    "history": ("harness.commands.history", "Show new, fixed, flaky and known failures and crashes."),
    "prune": ("harness.commands.prune", "Remove old images, saved states, downloads and artifacts."),
    "exec": ("harness.commands.live", "Run a Windows program in the guest that is up."),
    "push": ("harness.commands.live", "Copy a file into the guest that is up."),
    "pull": ("harness.commands.live", "Copy a file out of the guest that is up."),
    "shell": ("harness.commands.live", "Open cmd.exe in the guest that is up."),
    "logs": ("harness.commands.live", "Print the debug output of the guest that is up."),
    "console": ("harness.commands.console", "Show the screen of a guest that runs."),
    "key": ("harness.commands.console", "Press keys in a guest that runs."),
    "type": ("harness.commands.console", "Type a text in a guest that runs."),
    "reproduce": ("harness.commands.reproduce", "Replay a crash from its bundle; minimise its operations."),
    "dump": ("harness.commands.dump", "Show a crash dump's bugcheck, faulting driver and stack."),
    "rescue": ("harness.commands.rescue", "Disable a driver that crashes its guest at every boot."),
    "debug": ("harness.commands.debug", "Attach WinDbg or ntoseye to the guest's kernel; log its DbgPrint."),
    "kd": ("harness.commands.kd", "Decode a Windows kernel's debugger traffic, or listen to it live."),
}


@dataclass(frozen=True)
class Invocation:
    """The options given before the command's name."""

    config_path: Path | None


class _Lazy(click.Group):
    """Imports a command's module only when it is called: `winvm exec` need not load what `run` needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        function = {"exec": "execute", "list": "list_scenarios", "type": "type_text"}.get(
            cmd_name, cmd_name.replace("-", "_")
        )
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), function)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the command that was probably meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from harness.display.suggestion import did_you_mean

            ctx.fail(f"There is no command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The winvm.toml to use; default is the nearest one, here or in a parent folder.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Log requests to programs, libvirt and the guest on stderr."
)
@click.version_option(package_name="winvm", message="%(version)s")
@click.pass_context
def winvm(context: click.Context, config_path: Path | None, verbose: bool) -> None:
    """Runs Windows kernel drivers inside a QEMU/libvirt VM.

    Exit codes: 0 passed, 1 a scenario failed, 2 configuration, 3 infrastructure, 4 unexpected guest crash.
    """
    if verbose:
        from harness.display import debuglog

        context.call_on_close(debuglog.to_stderr())
    context.obj = Invocation(config_path)
