"""Small drivers as people write them for Visual C++ and the WDK, in tests/unit/toolchain/wdk_drivers."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "wdk_drivers"
ONE_FILE = {path.stem: (path.name, path.read_text()) for path in sorted(FOLDER.glob("*.c*"))}
ENTRY = """NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)p; d->DriverUnload = Unload; return 0;
}
"""
UNLOAD = "VOID Unload(PDRIVER_OBJECT d) { (void)d; PAGED_CODE(); }\n"
PLAIN = "#include <ntddk.h>\nDRIVER_UNLOAD Unload;\n" + UNLOAD + ENTRY
