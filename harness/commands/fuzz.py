"""`winvm fuzz`: random operations against the driver, guided by the code that they reach."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import Invocation
from harness.commands import load_config

if TYPE_CHECKING:
    from harness.fuzz.campaign import Campaign, Finding

RESULT = "fuzz.json"


class _Code(click.ParamType[int]):
    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A control code, in decimal or with 0x."""
        try:
            code = int(str(value), 0)
        except ValueError:
            code = -1
        if not 0 <= code <= 0xFFFFFFFF:
            self.fail(f"{value!r} is not a control code, as 0x222000 is", param, ctx)
        return code


@click.command()
@click.option(
    "--minutes", metavar="N", type=click.FloatRange(0.05, 100_000), default=10.0, help="Default 10."
)
@click.option("--seed", metavar="S", type=click.IntRange(0, 1 << 31), help="Default: another one each time.")
@click.option(
    "--jobs",
    metavar="J",
    type=click.IntRange(1, 16),
    default=1,
    help="Guests side by side, each with a seed.",
)
@click.option("--corpus", metavar="DIR", type=click.Path(path_type=Path), help="Read and add to these cases.")
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option("--build", metavar="NAME", help="Driver build; default is the first one of winvm.toml.")
@click.option("--ioctl", "codes", metavar="CODE", multiple=True, type=_Code(), help="A control code to try.")
@click.option(
    "--device", "devices", metavar="NAME", multiple=True, help=r"A device to open, as \\.\MyDriver."
)
@click.option("--unguided", is_flag=True, help="Do not look at what a case reaches; for comparisons.")
@click.option("--no-minimise", is_flag=True, help="Keep the case that crashed as it was.")
@click.option("--until-crash", is_flag=True, help="End at the first crash.")
@click.option(
    "--minimise-corpus", is_flag=True, help="Only drop cases of the corpus that reach nothing more."
)
@click.option("--artifacts", metavar="FOLDER", help="Write the results below this folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; the rest goes to stderr.")
@click.pass_context
def fuzz(
    context: click.Context,
    minutes: float,
    seed: int | None,
    jobs: int,
    corpus: Path | None,
    guest: str | None,
    build: str | None,
    codes: tuple[int, ...],
    devices: tuple[str, ...],
    unguided: bool,
    no_minimise: bool,
    until_crash: bool,
    minimise_corpus: bool,
    artifacts: str | None,
    as_json: bool,
) -> None:
    """Fuzz the driver: the contract's control codes with valid, wrong and hostile buffers, races, closes.

    Exit code 4 if the driver went down in a way that the corpus does not know, else 0.
    """
    from harness.display.progress import Progress
    from harness.fuzz import targets
    from harness.fuzz.campaign import Campaign
    from harness.results import write_json
    from harness.run.artifacts import Artifacts
    from harness.run.pipeline import open_bench
    from harness.run.plan import make_plan
    from harness.run.probing import ensure_probed

    if minimise_corpus and corpus is None:
        raise click.UsageError("--minimise-corpus needs --corpus DIR")
    invocation: Invocation = context.obj
    config = load_config(invocation).with_changes(artifacts)
    built = not config.driver.prebuilt
    plan = make_plan(config.with_changes(guard=built, guidance=built), guest, [build] if build else ())
    chosen = build or config.driver.builds[0]
    guided = built and not unguided
    seed = secrets.randbelow(1 << 31) if seed is None else seed
    if jobs > 1:
        if minimise_corpus:
            raise click.UsageError("--minimise-corpus takes one job")
        context.exit(_side_by_side(jobs, seed))
    kept, started = Artifacts(config.artifacts_folder / "fuzz"), time.time()
    progress = Progress()
    kept.journal.listen(progress)
    environment: dict[str, str] = {}
    try:
        bench = open_bench(plan, kept, None, ensure_probed)
        try:
            environment |= bench.guest.environment
            found = targets.find(config, bench.guest.payload.drivers[chosen], devices, codes)
            campaign = Campaign(
                bench=bench,
                journal=kept.journal,
                targets=found,
                driver=config.driver.name,
                build=chosen,
                folder=corpus,
                minutes=minutes,
                seed=seed,
                guided=guided,
                minimise=not no_minimise,
                told=lambda line: click.echo(line, err=True),
                stop_at=lambda _finding: until_crash,
            )
            if minimise_corpus:
                assert corpus is not None
                left = _make_least(campaign, corpus)
                click.echo(f"{corpus}: {left}", err=as_json)
            else:
                campaign.run()
        finally:
            bench.close()
    finally:
        progress.close()
        kept.finish(plan.profile.name, started, environment=environment)
    document = _document(campaign, kept.path)
    write_json(kept.path / RESULT, document)
    if as_json:
        click.echo(json.dumps(document))
    elif not minimise_corpus:
        _show(campaign, kept.path)
    context.exit(4 if any(not one.known for one in campaign.findings.values()) else 0)


def _side_by_side(jobs: int, seed: int) -> int:
    """Runs this command once for each job, with the next seeds; returns the gravest exit code.

    The jobs share the corpus: each reads it when it starts or restores its guest, and adds its own files.
    """
    given = [word for word in sys.argv[1:] if not word.startswith(("--jobs=", "--seed="))]
    for option in ("--jobs", "--seed"):
        if option in given:
            at = given.index(option)
            del given[at : at + 2]
    started = [
        subprocess.Popen([sys.executable, "-m", "harness", *given, f"--seed={seed + number}"])
        for number in range(jobs)
    ]
    try:
        return max(one.wait() for one in started)
    except BaseException:
        for one in started:
            one.send_signal(signal.SIGINT)
        for one in started:
            one.wait()
        raise


def _make_least(campaign: Campaign, folder: Path) -> str:
    """Removes the kept cases that reach nothing which a smaller one does not; says how many are left."""
    from harness.fuzz import corpus

    files = {case.sent: file for file, case in corpus.read(folder).items() if not case.signature}
    needed = {case.sent for case in campaign.least()}
    for sent, file in files.items():
        if sent not in needed:
            file.unlink()
    return f"{len(needed & files.keys())} of {len(files)} cases reach all that these reached"


def _document(campaign: Campaign, artifacts: Path) -> dict[str, Any]:
    seconds = campaign.seconds
    return {
        "driver": campaign.driver,
        "build": campaign.build,
        "seed": campaign.seed,
        "guided": campaign.guided,
        "targets": campaign.targets.source,
        "seconds": round(seconds, 1),
        "operations": campaign.operations,
        "operations_per_second": round(campaign.operations / seconds, 1) if seconds else 0.0,
        "cases": campaign.cases,
        "edges": campaign.edges,
        "kept": len(campaign.kept),
        "lost_requests": campaign.lost,
        "findings": [finding.document() for finding in campaign.findings.values()],
        "artifacts": str(artifacts),
    }


def _show(campaign: Campaign, artifacts: Path) -> None:
    from harness.display.terminal import printable

    how = "guided by coverage" if campaign.guided else "not guided"
    rate = campaign.operations / campaign.seconds if campaign.seconds else 0.0
    click.echo(
        f"{campaign.operations} operations in {campaign.seconds:.0f} s ({rate:.0f}/s), {how}, "
        f"{campaign.edges} edges, {len(campaign.kept)} cases kept, seed {campaign.seed}; "
        f"codes from {printable(campaign.targets.source)}"
    )
    for finding in campaign.findings.values():
        click.echo(f"{'known' if finding.known else 'NEW':6}{finding.signature} {_how(finding)}")
        click.echo(f"      {printable(finding.cause or finding.what)[:600]}")
        for operation in finding.case.operations:
            click.echo(f"      {json.dumps(operation.document())}")
        if finding.file:
            click.echo(f"      {finding.file}")
        if finding.bundle:
            click.echo(f"      winvm reproduce {artifacts / finding.bundle}")
    if not campaign.findings:
        click.echo("nothing found")
    click.echo(f"artifacts: {artifacts}")


def _how(finding: Finding) -> str:
    came = f"after {finding.after_s:.0f} s, {finding.times} times"
    if finding.known:
        return f"{came}; its case is in the corpus"
    if finding.confirmed:
        return f"{came}; its case recurs {finding.case.reproduced}/{finding.case.replays}"
    return f"{came}; NOT REPRODUCED: the operations below were the last ones, not its proven cause"
