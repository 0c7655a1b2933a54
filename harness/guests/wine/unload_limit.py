"""Why a right driver does not unload on Wine: a minifilter gets no unload routine.

On Windows the filter manager puts one of its own into the driver object when FltRegisterFilter is called, and
it calls the filter's FilterUnloadCallback. Wine's FltRegisterFilter does nothing (measured with Wine 10: the
service of a minifilter stays RUNNING after it was asked to stop).
"""

from __future__ import annotations

from pathlib import Path

import pefile

_IMPORT = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]
_REGISTERS = b"FltRegisterFilter"


def unload_limit(driver: Path) -> str:
    """The limit, without a full stop; empty for a driver that is no minifilter or cannot be read."""
    try:
        with pefile.PE(str(driver), fast_load=True) as image:
            image.parse_data_directories([_IMPORT])
            modules = getattr(image, "DIRECTORY_ENTRY_IMPORT", [])
            registers = any(routine.name == _REGISTERS for module in modules for routine in module.imports)
    except (OSError, pefile.PEFormatError):
        return ""
    return "Wine's FltRegisterFilter gives a minifilter no unload routine" if registers else ""
