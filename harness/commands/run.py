"""`winvm run`: the scenarios of winvm.toml through pytest, with winvm's exit codes."""

from __future__ import annotations

import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import click
import pytest

from harness import outcome
from harness.cli import Invocation
from harness.commands import load_config
from harness.outcome import RunResult, Scenario
from harness.smoke.selection import nothing_chosen
from harness.testing.session import Session


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option(
    "-k", "keyword", metavar="EXPRESSION", help="Only scenarios whose name matches, as pytest's -k."
)
@click.option("-m", "marker", metavar="EXPRESSION", help="Only scenarios of a kind or tag, as pytest's -m.")
@click.option(
    "--build",
    "builds",
    metavar="NAME",
    multiple=True,
    help="Run against this driver build; `all` for every one.",
)
@click.option(
    "--param", "parameters", metavar="NAME=VALUE", multiple=True, help="Parameter that winvm.toml declares."
)
@click.option(
    "--label", "labels", metavar="NAME", multiple=True, help="History compares runs of the same labels."
)
@click.option(
    "--repeat", metavar="N", type=click.IntRange(1), default=1, help="Run each scenario N times in a row."
)
@click.option("--verifier", is_flag=True, help="Let Driver Verifier watch the driver.")
@click.option("--coverage", is_flag=True, help="Show which lines of the driver the run executes.")
@click.option(
    "--coverage-fail-under",
    "least",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Fail unless so many of the driver's lines run.",
)
@click.option(
    "--coverage-diff",
    "revision",
    metavar="REVISION",
    help="Show lines changed since a git revision that no scenario runs.",
)
@click.option("--guard", is_flag=True, help="Let the guard library watch the driver.")
@click.option(
    "--guard-fail",
    metavar="N|SHARE",
    help="Make the N-th allocation of each scenario fail, or a share of all, as 0.05.",
)
@click.option("--guard-sweep", is_flag=True, help="Run each scenario once for each allocation, which fails.")
@click.option("--corpus", metavar="DIR", help="Replay the cases of a corpus of `winvm fuzz`, under guard.")
@click.option("--hold", is_flag=True, help="Leave the guest as it is at a crash, until Enter or Ctrl-C.")
@click.option(
    "--artifacts", metavar="FOLDER", help="Write the results below this folder; default is winvm.toml's."
)
@click.option("--uri", metavar="URI", help="Use this libvirt daemon; default is winvm.toml's.")
@click.option("-x", "first", is_flag=True, help="Stop at the first failure.")
@click.option("--lf", "--last-failed", "last_failed", is_flag=True, help="Only what failed when it last ran.")
@click.option("--pdb", is_flag=True, help="Debug in the guest, on this terminal, what a scenario raises.")
@click.option("--durations", metavar="N", type=click.IntRange(0), help="Show the N slowest; 0 for all.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print results.json to stdout, everything else to stderr."
)
@click.pass_context
def run(
    context: click.Context,
    names: tuple[str, ...],
    guest: str | None,
    keyword: str | None,
    marker: str | None,
    builds: tuple[str, ...],
    parameters: tuple[str, ...],
    labels: tuple[str, ...],
    repeat: int,
    verifier: bool,
    coverage: bool,
    least: float | None,
    revision: str | None,
    guard: bool,
    guard_fail: str | None,
    guard_sweep: bool,
    corpus: str | None,
    hold: bool,
    artifacts: str | None,
    uri: str | None,
    first: bool,
    last_failed: bool,
    pdb: bool,
    durations: int | None,
    as_json: bool,
) -> None:
    """Run scenarios in a fresh guest: all, or those that NAME gives.

    NAME is a scenario as `winvm list` shows it, a module or its file for all scenarios in it, or a pattern
    with * and ?.
    """
    invocation: Invocation = context.obj
    config = load_config(invocation)
    arguments = [str(Path(__file__).parents[1] / "suite"), "--winvm-config", str(config.root / "winvm.toml")]
    arguments += ["--rootdir", str(Path.cwd()), "-p", "no:cacheprovider", "-q", "-rN", "-o", "addopts="]
    # An editable install has imported the plugin's package before pytest could rewrite its assertions.
    arguments += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
    if invocation.config_path:
        arguments[2] = str(invocation.config_path.resolve())
    named = {"--winvm-guest": guest, "-k": keyword, "-m": marker, "--winvm-artifacts": artifacts}
    named |= {"--winvm-libvirt-uri": uri, "--winvm-coverage-diff": revision, "--winvm-corpus": corpus}
    for option, value in named.items():
        arguments += [option, value] if value is not None else []
    arguments += [f"--winvm-scenario={name}" for name in names]
    arguments += [f"--winvm-build={build}" for build in builds]
    arguments += [f"--winvm-param={parameter}" for parameter in parameters]
    arguments += [f"--winvm-label={label}" for label in labels]
    arguments += [f"--winvm-repeat={repeat}"]
    arguments += ["--winvm-verifier"] if verifier else []
    arguments += ["--winvm-coverage"] if coverage else []
    arguments += [f"--winvm-coverage-fail-under={least}"] if least is not None else []
    # What the guard alone sees must not pass for want of it; a prebuilt driver can have none.
    replayed = corpus is not None and not config.driver.prebuilt
    arguments += ["--winvm-guard"] if guard or guard_fail or guard_sweep or replayed else []
    arguments += [f"--winvm-guard-fail={guard_fail}"] if guard_fail else []
    arguments += ["--winvm-guard-sweep"] if guard_sweep else []
    arguments += ["--winvm-hold"] if hold else []
    arguments += ["-x"] if first else []
    arguments += ["--winvm-last-failed"] if last_failed else []
    arguments += ["--pdb"] if pdb else []
    arguments += [f"--durations={durations}"] if durations is not None else []
    watcher = _Watcher()
    if as_json:
        with redirect_stdout(sys.stderr):
            code = int(pytest.main(arguments, plugins=[watcher]))
        if watcher.result:
            with watcher.result.results.open() as results:
                shutil.copyfileobj(results, sys.stdout)
        else:
            click.echo("null")
    else:
        code = int(pytest.main(arguments, plugins=[watcher]))
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        remedy = "Choose others with -k, -m or --build, or leave these out."
        raise nothing_chosen(watcher.known, keyword, marker, names, remedy)
    context.exit(130 if watcher.interrupted else exit_code(code, watcher.result))


def exit_code(pytest_code: int, result: RunResult | None) -> int:
    """winvm's exit code of a finished pytest session.

    Where pytest returns 0 or 1, the results decide: an unexpected crash outranks a lost guest, which outranks
    a failure.
    """
    if pytest_code == pytest.ExitCode.USAGE_ERROR:
        return 2
    if pytest_code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return pytest_code  # a winvm error ended the session with its own exit code
    return outcome.exit_code(result.counts if result else {}) or pytest_code


class _Watcher:
    """Keeps the run's result beyond the pytest session."""

    result: RunResult | None = None
    interrupted = False
    known: tuple[Scenario, ...] = ()

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # pytest calls this for pytest.exit() and errors of collection too.
        self.interrupted = excinfo.type is KeyboardInterrupt

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        found = Session.of(session.config)
        self.result = found.run
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            self.known = found.plan().scenarios
