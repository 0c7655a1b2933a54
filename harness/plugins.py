"""Registries of plug-ins by name: winvm's own, and those that installed packages add by entry points.

A plug-in is imported when it is asked for, so that a command imports only what it uses. winvm's own plug-ins
are named here as `module:attribute`; other packages declare an entry point of the registry's group.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

from harness.errors import ConfigurationError


class Registry:
    """Plug-ins of one kind.

    Args:
        group: the entry point group that other packages use.
        what: how messages name one plug-in.
        own: name -> `module:attribute` of winvm's own plug-ins. No other package can replace them.
    """

    def __init__(self, group: str, what: str, own: Mapping[str, str]) -> None:
        self.group, self._what = group, what
        self._own = dict(own)
        self._added: dict[str, object] = {}

    def names(self) -> tuple[str, ...]:
        """All of them: winvm's own first, then those of other packages by name."""
        return tuple(dict.fromkeys((*self._own, *self._added, *sorted(self._installed))))

    def find(self, name: str) -> object:
        """The plug-in of that name.

        Raises:
            ConfigurationError: there is none, or the package that brings it cannot be imported.
        """
        if name in self._added:
            return self._added[name]
        if name in self._own:
            module, _, attribute = self._own[name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name not in self._installed:
            raise ConfigurationError(
                f"There is no {self._what} {name!r}.",
                remedy=f"Known are {', '.join(self.names())}; others come from packages with an entry point"
                f" of the group {self.group}.",
            )
        entry = self._installed[name]
        try:
            return entry.load()
        except (Exception, SystemExit) as error:
            why = str(error) or type(error).__name__
            package = entry.dist.name if entry.dist else "an installed package"
            raise ConfigurationError(
                f"The {self._what} {name!r} of {package} cannot be loaded from {entry.value}: {why}.",
                remedy=f"Reinstall or remove {package}.",
            ) from error

    @contextmanager
    def added(self, name: str, plugin: object) -> Iterator[None]:
        """Adds a plug-in in this process until the block ends; winvm's tests use it."""
        if name in self.names():
            raise ValueError(f"there is a {self._what} {name!r} already")
        self._added[name] = plugin
        try:
            yield
        finally:
            del self._added[name]

    @cached_property
    def _installed(self) -> Mapping[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self.group)}


FLAVOURS = Registry(
    "winvm.flavours",
    "guest flavour",
    {
        "wine": "harness.guests.wine.flavour:FLAVOUR",
        "windows": "harness.guests.windows.flavour:FLAVOUR",
        "reactos": "harness.guests.reactos.flavour:FLAVOUR",
    },
)
"""By the `guest` of a profile; each is a `harness.guests.flavour.Flavour`."""

REPORTS = Registry(
    "winvm.reports",
    "report writer",
    {"gitlab": "harness.report.gitlab:WRITER", "html": "harness.report.page:WRITER"},
)
"""The reports written of every run, in this order; each is a `harness.report.writer.ReportWriter`."""

DEBUGGERS = Registry(
    "winvm.debuggers",
    "kernel debugger connection",
    {
        "serial": "harness.guests.windows.debugger:SERIAL",
        "kdnet": "harness.guests.windows.debugger:KDNET",
        "none": "harness.guests.windows.debugger:NONE",
    },
)
"""By the `hardware.kd` of a Windows profile; each is a `harness.guests.windows.debugger.Debugger`."""
