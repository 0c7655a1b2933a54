"""A git work tree of its own, in which commits of the user's repository are checked out and built.

The user's work tree, index and branches stay as they are: `git worktree` keeps HEAD and the state of
`git bisect` apart. Hooks of the repository do not run. Submodules are not checked out.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.host import programs

GIT_S = 120.0
_FLAGS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")


def git(folder: Path, *words: str) -> programs.Finished:
    """Runs git in a folder; its exit code is not looked at.

    Raises:
        MissingProgramError, ProgramDeadlineError: see `programs.run`.
    """
    variables = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}
    return programs.run(
        ["git", "-C", str(folder), *_FLAGS, *words], Deadline.after(GIT_S), environment=variables
    )


def commit_of(folder: Path, name: str) -> str:
    """The full id of the commit that `name` means in the repository around a folder.

    Raises:
        ConfigurationError: the folder is in no repository, or there is no such commit.
    """
    found = git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    commit = found.text.strip()
    if found.code or not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        raise ConfigurationError(
            f"{name!r} is no commit of the repository around {folder}.",
            remedy="Name a commit, a tag or a branch; `git log` shows them. A shallow clone lacks old ones.",
        )
    return commit


class Worktree:
    """A temporary work tree; a context manager that removes it.

    Args:
        project: the folder of winvm.toml, in the repository.
        parent: where the work tree is made.

    Attributes:
        project: the project's folder in the work tree.

    Raises:
        ConfigurationError: the project is in no git repository, or git makes no work tree.
    """

    def __init__(self, project: Path, parent: Path, commit: str) -> None:
        top = git(project, "rev-parse", "--show-toplevel")
        if top.code:
            raise ConfigurationError(
                f"{project} is in no git repository.", remedy="Run this in the repository of the driver."
            )
        self._repository = Path(top.text.rstrip("\n"))
        parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="tree-", dir=parent)).resolve()
        made = git(self._repository, "worktree", "add", "--detach", str(self._folder), commit)
        if made.code:
            self._remove()
            raise ConfigurationError(
                f"git cannot check out {commit[:12]}: {made.said}.", remedy="Correct what git says."
            )
        self.project = self._folder / os.path.relpath(project.resolve(), self._repository.resolve())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def git(self, *words: str) -> programs.Finished:
        """Runs git in the work tree; its exit code is not looked at."""
        return git(self._folder, *words)

    def check_out(self, commit: str) -> None:
        """Makes the tracked files those of a commit; what builds left stays.

        Raises:
            ConfigurationError: git refuses.
        """
        done = self.git("checkout", "--quiet", "--force", "--detach", commit)
        if done.code:
            raise ConfigurationError(
                f"git cannot check out {commit[:12]}: {done.said}.", remedy="Correct what git says."
            )

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return commit_of(self._folder, "HEAD")

    def subject(self, commit: str) -> str:
        """The first line of a commit's message."""
        return self.git("log", "-1", "--format=%s", commit).text.strip()

    def described(self, commit: str) -> list[str]:
        """Id, subject, author and date of a commit, as lines; nothing of it is made printable."""
        return self.git("log", "-1", "--format=%H%n%s%n%an, %ad", "--date=iso", commit).text.splitlines()

    def _remove(self) -> None:
        git(self._repository, "worktree", "remove", "--force", "--force", str(self._folder))
        shutil.rmtree(self._folder, ignore_errors=True)
        git(self._repository, "worktree", "prune")
