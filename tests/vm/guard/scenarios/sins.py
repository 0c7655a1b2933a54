"""Each sin of the driver ends in Driver Verifier's bugcheck; the same request done rightly in none."""

from __future__ import annotations

import struct

from agent import Context, Crash, State, scenario

LINK = "Sins"
POOL, IRP, OTHER, LEVEL, UNLOAD = 0, 0x100, 0x180, 0x200, 0x300
# Name -> request, bugcheck code, and (number of a parameter, its value) that tells the kind; None: any.
SINS: dict[str, tuple[int, int, tuple[int, int] | None]] = {
    "write_beyond": (POOL + 0, 0xD6, (2, 1)),
    "read_beyond": (POOL + 1, 0xD6, (2, 0)),
    "small_overrun": (POOL + 2, 0xC1, (4, 0x24)),
    "underrun": (POOL + 3, 0xC1, (4, 0x23)),
    "large_overrun": (POOL + 4, 0xC1, (4, 0x24)),
    "use_after_free": (POOL + 5, 0xD5, (2, 1)),
    "read_after_free": (POOL + 6, 0xD5, (2, 0)),
    "double_free": (POOL + 7, 0xC4, (1, 0x13)),
    "wrong_tag": (POOL + 8, 0xC2, (1, 0x0A)),
    "inner_free": (POOL + 9, 0xC1, (4, 0x21)),
    "stack_free": (POOL + 10, 0xC4, (1, 0x10)),
    "null_free": (POOL + 11, 0xC2, (1, 0x46)),
    "zero_bytes": (POOL + 12, 0xC4, (1, 0x00)),
    "paged_at_dispatch": (POOL + 13, 0xC4, (1, 0x01)),
    "paged_free_at_dispatch": (POOL + 14, 0xC4, (1, 0x11)),
    "active_timer_freed": (POOL + 15, 0xC4, (1, 0x15)),
    "double_completion": (IRP + 0, 0x44, None),
    "cancel_routine_set": (IRP + 1, 0xC9, (1, 0x07)),
    "completed_pending": (IRP + 2, 0xC9, (1, 0x06)),
    "pending_unmarked": (IRP + 3, 0xC9, (1, 0x23D)),
    "marked_not_returned": (IRP + 4, 0xC9, (1, 0x23E)),
    "never_completed": (IRP + 5, 0xC9, (1, 0x226)),
    "other_status": (IRP + 6, 0xC9, (1, 0x224)),
    "information_too_large": (IRP + 7, 0xC9, (1, 0x312)),
    "returned_raised": (IRP + 8, 0xC9, (1, 0x05)),
    "lock_kept": (IRP + 9, 0xC9, (1, 0x05)),
    "region_kept": (IRP + 10, 0xC4, (1, 0xC5)),
    "wait_at_dispatch": (LEVEL + 0, 0xC4, (1, 0x3B)),
    "zw_at_dispatch": (LEVEL + 1, 0xC4, (1, 0xE6)),
    "self_deadlock": (LEVEL + 2, 0xC4, (1, 0x1000)),
    "released_unheld": (LEVEL + 3, 0xC4, (1, 0x32)),
    "order_inversion": (LEVEL + 4, 0xC4, (1, 0x1001)),
    "mutex_twice": (LEVEL + 5, 0xC4, (1, 0x1000)),
    "mutex_at_dispatch": (LEVEL + 6, 0xC4, (1, 0x33)),
    "resource_with_apcs": (LEVEL + 7, 0xC4, (1, 0x37)),
    "dpc_level_at_passive": (LEVEL + 8, 0xC4, (1, 0x40)),
    "paged_code_raises": (LEVEL + 9, 0xD1, (3, 8)),
    "unlocked_twice": (LEVEL + 10, 0xC4, (1, 0x7C)),
    "freed_locked": (LEVEL + 11, 0xCB, None),
    "region_not_entered": (LEVEL + 12, 0xC4, (1, 0x3E)),
    "resource_in_pool": (OTHER + 0, 0xC4, (1, 0x17)),
    "mdl_freed_twice": (OTHER + 1, 0xC4, (1, 0x13)),
    "work_item_freed_twice": (OTHER + 2, 0xC4, (1, 0x13)),
    "paged_code_at_dispatch": (OTHER + 3, 0xD1, (3, 8)),
    "thread_keeps_lock": (OTHER + 4, 0xC4, (1, 0x100A)),
    "worker_raises": (OTHER + 5, 0xC4, (1, 0xE5)),
    "dpc_waits": (OTHER + 6, 0xC4, (1, 0x3B)),
    "dpc_takes_paged": (OTHER + 7, 0xC4, (1, 0x01)),
    "dpc_writes_beyond": (OTHER + 8, 0xD6, (2, 1)),
    "thread_reads_freed": (OTHER + 9, 0xD5, (2, 0)),
    "worker_frees_twice": (OTHER + 10, 0xC4, (1, 0x13)),
    "nothing_by_priority": (OTHER + 11, 0xC4, (1, 0x00)),
    "starves_with_apcs": (OTHER + 12, 0xC4, (1, 0x37)),
    "copies_beyond": (OTHER + 13, 0xD6, (2, 1)),
    "locks_inversely": (OTHER + 14, 0xC4, (1, 0x1001)),
    "completes_high": (OTHER + 15, 0xC9, (1, 0x0E)),
    "dpc_opens_key": (OTHER + 16, 0xC4, (1, 0xE6)),
    "pool_left": (UNLOAD + 1, 0xC4, (1, 0x62)),
    "timer_left": (UNLOAD + 2, 0xC7, (1, 0)),
    "work_item_left": (UNLOAD + 3, 0xC4, (1, 0x62)),
    "mdl_left": (UNLOAD + 4, 0xC4, (1, 0x62)),
    "link_left": (UNLOAD + 5, 0xC4, (1, 0x62)),
    "thread_left": (UNLOAD + 6, 0xCE, None),
    "timer_in_device_left": (UNLOAD + 7, 0xC7, (1, 0)),
    "irp_left": (UNLOAD + 8, 0xC4, (1, 0x62)),
    "reference_left": (UNLOAD + 9, 0xC4, (1, 0x62)),
    "remove_lock_left": (UNLOAD + 10, 0xC4, (1, 0x62)),
    "unprotected_link_left": (UNLOAD + 11, 0xC4, (1, 0x62)),
}


def commit(t: Context, number: int, *, clean: bool) -> None:
    """Sends the request; for a sin of the unload routine, unloads the driver and loads it again."""
    code = 0x220000 | (0x800 + number) << 2
    with t.open(LINK) as device:
        device.ioctl(code, struct.pack("<I", clean), 16)
    if number >= UNLOAD:
        with t.services() as manager, manager.open(t.service) as service:
            service.stop()
            service.wait_for(State.STOPPED, 10.0)
            service.start()
            service.wait_for(State.RUNNING, 10.0)


def _expected(bugcheck: int, told: tuple[int, int] | None) -> Crash:
    parameters: list[int | None] = [None] * 4
    if told:
        parameters[told[0] - 1] = told[1]
    return Crash(bugcheck=bugcheck, parameters=tuple(parameters))


def _declare(name: str, number: int, expected: Crash) -> None:
    def sin(t: Context) -> None:
        commit(t, number, clean=False)

    def clean(t: Context) -> None:
        commit(t, number, clean=True)

    for kind, body in (("sin", sin), ("clean", clean)):
        body.__name__ = body.__qualname__ = f"{kind}_{name}"
        body.__doc__ = f"{name.replace('_', ' ')}: {'the violation' if kind == 'sin' else 'done rightly'}."
        declared = scenario(expect_crash=expected)(body) if kind == "sin" else scenario(body)
        globals()[body.__name__] = declared


for _name, (_number, _bugcheck, _told) in SINS.items():
    _declare(_name, _number, _expected(_bugcheck, _told))
