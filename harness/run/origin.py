"""Where a run comes from: the project's git commit and branch, the CI job, the night that it belongs to.

All of it goes into the run's environment under the keys here; what is not known is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError
from harness.host import programs

DRIVER = "driver"
COMMIT, BRANCH, DIRTY, URL, NIGHT = "git commit", "git branch", "git dirty", "CI run", "night"
"""Keys of a run's environment; `driver` is the driver's name. `git dirty` is there, as `yes`, when tracked
files differ from the commit."""
NIGHT_VARIABLE = "WINVM_NIGHT"
"""Environment variable that names the night's folder to the processes of a night."""
GIT_S = 10.0
_LINES = 1 << 20
_BRANCHES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BRANCH_NAME")
_URLS = ("CI_JOB_URL", "BUILD_URL")
"""Variables of GitLab CI and Jenkins with the address of the job."""


def origin(project: Path, variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is known of where a run comes from; reads git, and changes nothing."""
    found = _git(project)
    if COMMIT in found and BRANCH not in found:  # CI systems check out a commit, not a branch
        named = (variables.get(key, "") for key in _BRANCHES)
        if branch := next((name for name in named if name and name.isprintable()), ""):
            found[BRANCH] = branch
    if url := _url(variables):
        found[URL] = url
    if night := variables.get(NIGHT_VARIABLE):
        found[NIGHT] = Path(night).name
    return found


def _git(project: Path) -> dict[str, str]:
    """Commit, branch and state of a work tree; empty outside of one, or without git.

    Source: "Porcelain Format Version 2" of git-status(1). A file system monitor that the repository's
    configuration names is not started, and the index is not written.
    """
    ask = ["git", "-C", str(project), "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch"]
    try:
        said = programs.run(
            [*ask, "--untracked-files=no", "--ignore-submodules"],
            Deadline.after(GIT_S),
            environment={"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            limit=_LINES,
        )
    except (HostError, DeadlineError):
        return {}
    lines = said.text.splitlines() if said.code == 0 else []
    head = dict(line[2:].split(" ", 1) for line in lines if re.match(r"# branch\.(oid|head) ", line))
    commit, branch = head.get("branch.oid", ""), head.get("branch.head", "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return {}  # no repository, or one without a commit
    found = {COMMIT: commit}
    if branch and branch != "(detached)":
        found[BRANCH] = branch
    if any(not line.startswith("#") for line in lines):
        found[DIRTY] = "yes"
    return found


def _url(variables: Mapping[str, str]) -> str:
    server, repository, run = (
        variables.get(f"GITHUB_{key}", "") for key in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    github = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""
    urls = (github, *(variables.get(key, "") for key in _URLS))
    return next((url for url in urls if re.fullmatch(r"https?://[!-~]{1,2000}", url)), "")
