"""libvirt's Python modules. They need a library of the host; if it is missing, the error names the remedy."""

from __future__ import annotations

from harness.errors import HostError

try:
    import libvirt  # type: ignore[import-untyped]
    import libvirt_qemu  # type: ignore[import-untyped]
except ImportError as missing:
    raise HostError(
        f"libvirt's Python module cannot be loaded: {missing}.",
        remedy="Run: winvm host install",
    ) from missing

__all__ = ["libvirt", "libvirt_qemu"]
