"""Crash settings: dump, minidumps, page file, DbgPrint filter, and a restart that waits for no input.

Sources: Microsoft Learn: Overview of memory dump file options; Reading and Filtering Debugging Messages;
ntdebugging blog: DedicatedDumpFile.
"""

from __future__ import annotations

from provision.machine import Kind
from provision.plan.boot import element
from provision.plan.keys import SESSION_MANAGER
from provision.settings import CrashSettings, Settings
from provision.steps import Setting, Step, dword, no_value, registry_value

CRASH_CONTROL = r"SYSTEM\CurrentControlSet\Control\CrashControl"
MEMORY_MANAGEMENT = rf"{SESSION_MANAGER}\Memory Management"
DEBUG_PRINT_FILTER = rf"{SESSION_MANAGER}\Debug Print Filter"
DEDICATED_FILE = r"C:\winvm\dedicated.dmp"
# An active dump is a complete one with a filter on the pages.
DUMP_KINDS = {"none": 0, "complete": 1, "active": 1, "kernel": 2, "small": 3, "automatic": 7}


def steps(settings: Settings) -> list[Step]:
    """Windows reads all these settings when it starts."""
    found = []
    if settings.crash is not None:
        found.append(Step("crash control", _crash_control(settings.crash), restart=True))
        found.append(Step("page file", _page_file(settings.crash), restart=True))
        found.append(Step("start after a crash", _recovery(), restart=True))
    if settings.dbgprint_mask is not None:
        # DbgPrint and KdPrint use the component DEFAULT; drivers can name IHVDRIVER in DbgPrintEx.
        mask = settings.dbgprint_mask
        filters = tuple(dword(DEBUG_PRINT_FILTER, name, mask) for name in ("DEFAULT", "IHVDRIVER"))
        found.append(Step("DbgPrint filter", filters, restart=True))
    return found


def _crash_control(crash: CrashSettings) -> tuple[Setting, ...]:
    return (
        dword(CRASH_CONTROL, "CrashDumpEnabled", DUMP_KINDS[crash.dump]),
        dword(CRASH_CONTROL, "FilterPages", 1)
        if crash.dump == "active"
        else no_value(CRASH_CONTROL, "FilterPages"),
        dword(CRASH_CONTROL, "AutoReboot", crash.auto_reboot),
        dword(CRASH_CONTROL, "Overwrite", 1),  # else an old MEMORY.DMP keeps a new one from being written
        dword(CRASH_CONTROL, "AlwaysKeepMemoryDump", 1),  # else it is deleted below 25 GB of free space
        dword(CRASH_CONTROL, "LogEvent", 1),
        dword(CRASH_CONTROL, "NMICrashDump", 1),  # newer Windows crashes at an NMI without it
        dword(CRASH_CONTROL, "MinidumpsCount", crash.minidumps),
        registry_value(CRASH_CONTROL, "DumpFile", Kind.EXPAND_SZ, r"%SystemRoot%\MEMORY.DMP"),
        registry_value(CRASH_CONTROL, "MinidumpDir", Kind.EXPAND_SZ, r"%SystemRoot%\Minidump"),
    )


def _page_file(crash: CrashSettings) -> tuple[Setting, ...]:
    """The dump is written to the page file or to the dedicated file, and only then to MEMORY.DMP."""
    fixed = rf"C:\pagefile.sys {crash.page_file_mib} {crash.page_file_mib}"
    wanted = (fixed if crash.page_file_mib else r"?:\pagefile.sys",)
    paging = registry_value(MEMORY_MANAGEMENT, "PagingFiles", Kind.MULTI_SZ, wanted)
    if not crash.dedicated_file_mib:
        return (
            paging,
            no_value(CRASH_CONTROL, "DedicatedDumpFile"),
            no_value(CRASH_CONTROL, "DumpFileSize"),
        )
    return (
        paging,
        registry_value(CRASH_CONTROL, "DedicatedDumpFile", Kind.SZ, DEDICATED_FILE),
        dword(CRASH_CONTROL, "DumpFileSize", crash.dedicated_file_mib),
    )


def _recovery() -> tuple[Setting, ...]:
    """After two crashes the guest must start again, and not wait in the recovery environment."""
    return (
        element("{default}", "recoveryenabled", "No"),
        element("{default}", "bootstatuspolicy", "IgnoreAllFailures"),
    )
