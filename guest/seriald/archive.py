"""Packs seriald into one zipapp with reproducible bytes: `python archive.py seriald.pyz`.

The archive holds the package `seriald` and what it uses of `winrmd`: programs and their job objects.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

_START = "import sys\n\nfrom seriald.__main__ import main\n\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_WINRMD = ("__init__.py", "commandline.py", "console.py", "job.py", "process.py")


def write_archive(target: Path) -> None:
    """Writes the zipapp; equal sources give equal bytes."""
    package = Path(__file__).resolve().parent
    sources = sorted(path for path in package.glob("*.py") if path.name != "archive.py")
    sources += [package.parent / "winrmd" / name for name in _WINRMD]
    entries = {"__main__.py": _START.encode()}
    entries |= {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sources}
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in entries.items():
            # Stored, not deflated: a slow guest starts it faster.
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]))
