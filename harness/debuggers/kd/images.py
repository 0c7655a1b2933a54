"""Keeps the images that a kernel reported as loaded, and finds the one that contains an address."""

from __future__ import annotations

from harness.debuggers.kd.describe import Fields
from harness.debuggers.kd.halted import Module
from harness.debuggers.kd.state import Symbols
from harness.dumps.names import base_name

IMAGES_LIMIT = 1024
"""Most images kept: a hostile target may report any number."""
_KERNEL = 1 << 63
_ALL = 0xFFFFFFFFFFFFFFFF
"""Base address in the unload report of a kernel that restarts; it stands for all images."""


_KERNELS = ("ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "nt")


class LoadedImages:
    """Follows load-symbols and unload-symbols reports; images loaded before the first report are unknown."""

    def __init__(self) -> None:
        self._images: dict[int, Symbols] = {}

    def take(self, symbols: Symbols) -> None:
        """Takes one report. Some kernels report an unloaded image without a size."""
        if symbols.unload:
            self._images.pop(symbols.base, None)
            if symbols.base == _ALL:
                self.forget()
        elif len(self._images) < IMAGES_LIMIT:
            self._images[symbols.base] = symbols

    def forget(self) -> None:
        """Forgets all images: the kernel was restarted."""
        self._images.clear()

    @property
    def modules(self) -> list[Module]:
        """The kernel's images that are loaded now, as far as they were reported."""
        return [
            Module(one.path, one.base, one.size)
            for one in self._images.values()
            if one.path and one.base >= _KERNEL
        ]

    def placed(self, address: int) -> Fields:
        """The field `place`, such as `winvm.sys+0x287f`; empty for an address outside all reported images."""
        for image in self._images.values():
            if image.path and image.base <= address < image.base + image.size:
                return {"place": f"{base_name(image.path)}+{address - image.base:#x}"}
        return {}

    def is_kernel(self, address: int) -> bool:
        """Whether an address lies in the kernel's own image."""
        image = self.placed(address).get("place", "")
        return str(image).partition("+")[0].casefold() in _KERNELS
