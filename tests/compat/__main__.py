"""Builds the driver projects below a folder: `python -m tests.compat FOLDER`.

The sources are yours to bring: clones of public drivers, say. Nothing of them belongs to this repository, nor
does the record of one survey, which `--record` writes and `--expect` compares with. With a list of projects
in the folder, `--first-hour` tries each as its owner would, `--guest` runs what builds, and `--loads` loads
all that builds in one guest, one driver after another. tests/compat/first_hour.py explains the list.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.compat.first_hour import LIST, Seen, first_hours, loaded
from tests.compat.outcomes import FAILS, REFUSED, RIGHT
from tests.compat.record import differing, recorded
from tests.compat.survey import COMPILES, survey

ENVIRONMENT = "WINVM_COMPAT"


def main(arguments: list[str] | None = None) -> int:
    """0 when nothing that compiled in the expected record fails now."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default=os.environ.get(ENVIRONMENT), help=f"default: ${ENVIRONMENT}"
    )
    parser.add_argument("--output", help="keep what is built here")
    parser.add_argument("--record", help="write the outcomes to this JSON file")
    parser.add_argument("--expect", help="compare with such a file, or with --first-hour a measured.toml")
    parser.add_argument("--first-hour", action="store_true", help=f"the projects of FOLDER/{LIST}")
    parser.add_argument("--guest", action="store_true", help="with --first-hour: also run what builds")
    parser.add_argument(
        "--loads", action="store_true", help="with --first-hour: load what builds in one guest"
    )
    given = parser.parse_args(arguments)
    if not given.folder or not Path(given.folder).is_dir():
        parser.error(f"name a folder with driver projects, as an argument or in {ENVIRONMENT}")
    if given.first_hour:
        return _first_hour(Path(given.folder).resolve(), given)
    with tempfile.TemporaryDirectory(prefix="winvm-compat-") as scratch:
        outcomes = []
        for outcome in survey(Path(given.folder).resolve(), Path(given.output or scratch)):
            outcomes.append(outcome)
            print(f"{outcome.result:8}  {outcome.project}  {outcome.reason}".rstrip(), flush=True)
    compiled = {outcome.project for outcome in outcomes if outcome.result == COMPILES}
    print(f"{len(compiled)} of {len(outcomes)} projects compile")
    if given.record:
        Path(given.record).write_text(
            json.dumps([outcome.as_json() for outcome in outcomes], indent=1) + "\n"
        )
    if not given.expect:
        return 0
    expected = json.loads(Path(given.expect).read_text())
    lost = sorted({item["project"] for item in expected if item["result"] == COMPILES} - compiled)
    for project in lost:
        print(f"no longer compiles: {project}")
    return 1 if lost else 0


def _first_hour(folder: Path, given: argparse.Namespace) -> int:
    """0 when every project of the list did what the list expects."""
    seen = []
    with tempfile.TemporaryDirectory(prefix="winvm-compat-", dir=given.output) as scratch:
        for one in first_hours(folder / LIST, Path(scratch), guest=given.guest):
            seen.append(one)
            _print(one)
        if given.loads:
            print("in one guest:", flush=True)
            (Path(scratch) / "loads").mkdir()
            seen = loaded(seen, Path(scratch) / "loads")
            for one in seen:
                _print(one)
    built = sum(one.result not in (FAILS, REFUSED) for one in seen)
    right = sum(one.result in RIGHT or (bool(one.project.reason) and one.as_expected) for one in seen)
    print(f"{built} of {len(seen)} projects compile; {right} load or are refused with the expected reason")
    if given.record:
        Path(given.record).write_text(json.dumps([one.as_json() for one in seen], indent=1) + "\n")
    lost = list(differing(seen, recorded(Path(given.expect)))) if given.expect else []
    for line in lost:
        print(line)
    return 0 if not lost and all(one.as_expected for one in seen) else 1


def _print(one: Seen) -> None:
    mark = " " if one.as_expected else "!"
    took = f"{one.init_s:4.1f} {one.build_s:5.1f} {one.run_s:5.1f} s"
    print(f"{mark} {one.result:10} {took}  {one.project.folder}  {one.reason}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
