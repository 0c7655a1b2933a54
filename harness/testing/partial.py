"""Whether a pytest session runs all scenarios of its plan, or some that the user chose."""

from __future__ import annotations

import pytest


def is_partial(session: pytest.Session) -> bool:
    """Whether scenarios were chosen: by name, -k, -m, --lf, --deselect, or a test's id on the command line.

    A choice of guest, driver builds or labels makes another cell, and -x only ends a run early.
    """
    config = session.config
    option = config.option
    chosen = (
        getattr(option, "keyword", ""),
        getattr(option, "markexpr", ""),
        getattr(option, "deselect", None),
        getattr(option, "lf", False),
        config.getoption("--winvm-scenario"),
        config.getoption("--winvm-last-failed"),
    )
    return any(chosen) or any("::" in argument for argument in config.args)
