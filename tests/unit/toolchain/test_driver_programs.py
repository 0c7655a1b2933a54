"""The C programs are built as an outsider would build them: mingw-w64, no header of ours."""

import subprocess
from pathlib import Path

import pefile

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"


def test_they_build_without_warnings(tmp_path: Path) -> None:
    subprocess.run(["make", "-C", str(PROGRAMS), f"OUT={tmp_path}"], check=True, capture_output=True)
    built = {program.stem for program in tmp_path.glob("*.exe")}
    assert built == {source.stem for source in PROGRAMS.glob("*.c")}
    assert pefile.PE(str(tmp_path / "cr42.exe"), fast_load=True).OPTIONAL_HEADER.Subsystem == 3


def test_none_knows_our_header() -> None:
    for source in PROGRAMS.glob("*.c"):
        assert '#include "' not in source.read_text(), source
