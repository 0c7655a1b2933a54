"""Packs winrmd into one zipapp with reproducible bytes: `python archive.py winrmd.pyz`.

The standard library's `zipapp` writes the files' times into the archive, so this module writes the entries.
The archive contains a start file and the package `winrmd`; imports are the same inside and outside of it.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

_START = "import sys\n\nfrom winrmd.__main__ import main\n\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_archive(target: Path) -> None:
    """Writes the zipapp; equal sources give equal bytes."""
    package = Path(__file__).resolve().parent
    sources = sorted(path for path in package.glob("*.py") if path.name != "archive.py")
    entries = {"__main__.py": _START.encode()}
    entries |= {f"{package.name}/{path.name}": path.read_bytes() for path in sources}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            # Stored, not deflated: a slow guest starts it faster.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]))
