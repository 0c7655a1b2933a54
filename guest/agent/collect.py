"""Imports every scenario module of the `scenarios` package and returns what they declare.

The same code serves `--list` on the host and the run in the guest, so both see the same scenarios.
"""

from __future__ import annotations

import importlib
import pkgutil
import traceback
from pathlib import PurePath
from typing import Any

from agent.errors import RegistryError
from agent.imports import missing_module
from agent.registry import Registered, declared_scenarios

PACKAGE = "scenarios"


def collect() -> tuple[Registered, ...]:
    """All scenarios, in the order of module names and lines.

    Raises:
        RegistryError: a module cannot be imported, or a declaration in it is invalid; names file and line.
    """
    for name in _siblings():
        _import(name)
    return declared_scenarios()


def listing(scenarios: tuple[Registered, ...]) -> dict[str, Any]:
    """The JSON object of `--list`."""
    return {"scenarios": [{**found.metadata(), "file": shown_file(found.file)} for found in scenarios]}


def listing_error(error: RegistryError) -> dict[str, Any]:
    """The JSON object of `--list` when the scenarios are invalid."""
    return {"error": str(error), "file": shown_file(error.file), "line": error.line}


def shown_file(path: str) -> str:
    """A scenario file relative to its folder (`ioctl.py`), without the path of the zipapp."""
    parts = PurePath(path.replace("\\", "/")).parts
    return "/".join(parts[parts.index(PACKAGE) + 1 :]) if PACKAGE in parts else path


def _siblings() -> list[str]:
    """Names of all scenario modules, sorted."""
    package = importlib.import_module(PACKAGE)
    return sorted(found.name for found in pkgutil.iter_modules(package.__path__))


def _import(name: str) -> None:
    try:
        importlib.import_module(f"{PACKAGE}.{name}")
    except RegistryError:
        raise
    except SyntaxError as error:
        raise RegistryError(
            f"syntax error: {error.msg}", error.filename or f"{PACKAGE}/{name}.py", error.lineno or 0
        ) from error
    except ModuleNotFoundError as error:
        file, line = _place(error, name)
        raise RegistryError(f"import failed: {missing_module(error, _siblings())}", file, line) from error
    except BaseException as error:  # a module may raise anything at import; report its file and line
        if isinstance(error, KeyboardInterrupt):
            raise
        file, line = _place(error, name)
        raise RegistryError(f"import failed: {type(error).__name__}: {error}", file, line) from error


def _place(error: BaseException, name: str) -> tuple[str, int]:
    """The innermost line of a scenario file that the exception passed through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if PACKAGE in PurePath(frame.filename.replace("\\", "/")).parts:
            return frame.filename, frame.lineno or 0
    return f"{PACKAGE}/{name}.py", 0
