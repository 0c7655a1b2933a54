"""Builds the driver projects below a folder: `python -m tests.compat FOLDER`.

The sources are yours to bring: clones of public drivers, say. Nothing of them belongs to this repository, nor
does the record of one survey, which `--record` writes and `--expect` compares with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

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
    parser.add_argument("--expect", help="compare with such a file")
    given = parser.parse_args(arguments)
    if not given.folder or not Path(given.folder).is_dir():
        parser.error(f"name a folder with driver projects, as an argument or in {ENVIRONMENT}")
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


if __name__ == "__main__":
    sys.exit(main())
