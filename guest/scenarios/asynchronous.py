"""LySharkAsync: overlapped reads that pend until a timer's DPC completes one of them each 50 ms."""

from __future__ import annotations

import time

from agent import Child, Context, State, Win32Error, equal, one_of, raises_win32, scenario
from agent.win32 import constants
from agent.win32.overlapped import Pending
from scenarios.restart import start_again

LINK = "LySharkAsync"
GREETING = b"hello lyshark"
PERIOD_S = 0.05


def ending(pending: Pending, timeout_s: float | None = None) -> str:
    """How a read ended: `data`, `cancelled` or `failed`; a read with other data fails the scenario."""
    try:
        equal(pending.wait(timeout_s), GREETING, "data of a read")
    except Win32Error as error:
        return "cancelled" if error.code == constants.ERROR_OPERATION_ABORTED else "failed"
    return "data"


@scenario(tags=("smoke",))
def read_completes_later(t: Context) -> None:
    """A read pends and is then completed with "hello lyshark"."""
    with t.open(LINK, overlapped=True) as device:
        pending = device.read_async(64)
        equal(pending.wait(), GREETING, "data of the read")
        equal(pending.count, 13, "byte count of the read")


@scenario
def one_read_a_period_in_order(t: Context) -> None:
    """Six reads issued together complete one a period, oldest first."""
    with t.open(LINK, overlapped=True) as device:
        started = time.monotonic()
        reads = [device.read_async(13) for _ in range(6)]
        for number, pending in enumerate(reads):
            equal(pending.wait(), GREETING, f"data of read {number}")
        took = time.monotonic() - started
        # The first period is already running and a late timer catches up, hence the slack.
        assert took > 3 * PERIOD_S, f"six reads took {took:.3f} s, less than three periods"

        reads = [device.read_async(13) for _ in range(4)]
        done = [False]
        while not all(done):
            # Youngest first: a read whose state is queried later may have ended meanwhile.
            done = [pending.done for pending in reversed(reads)]
            equal(done, sorted(done), "reads done, youngest first")
        equal([ending(pending) for pending in reads], ["data"] * 4, "ends of four reads")


@scenario(cases=(1, 5, 12, 13, 14, 4096))
def length_of_the_read_counts(t: Context, size: int) -> None:
    """A read gets the first n bytes of the text, 13 at most."""
    with t.open(LINK, overlapped=True) as device:
        pending = device.read_async(size)
        equal(pending.wait(), GREETING[:size], f"a read of {size} bytes")
        equal(pending.count, min(size, 13), "its byte count")


@scenario
def empty_read_completes_at_once(t: Context) -> None:
    """A read of 0 bytes ends with 0 bytes although others wait."""
    with t.open(LINK, overlapped=True) as device:
        waiting = [device.read_async(13) for _ in range(100)]  # a busy host ends 20 before the empty one
        equal(device.read_async(0).wait(), b"", "an empty read")
        equal(waiting[-1].done, False, "whether the youngest of 100 earlier reads has ended")
        device.cancel_io()
        for pending in waiting:
            one_of(ending(pending), ("data", "cancelled"), "end of a read")


@scenario
def synchronous_caller_is_served(t: Context) -> None:
    """A handle opened without overlapped I/O waits inside ReadFile and gets the text."""
    with t.open(LINK) as device:
        equal([device.read(size) for size in (64, 5)], [GREETING, b"hello"], "two plain reads")


@scenario
def cancel_one_of_many(t: Context) -> None:
    """CancelIoEx of one read ends only that read; the others get their data."""
    with t.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(10)]
        equal(reads[8].cancel(), True, "whether there was a read to cancel")
        equal(ending(reads[8], 1.0), "cancelled", "end of the cancelled read")
        others = [ending(pending) for pending in reads if pending is not reads[8]]
        equal(others, ["data"] * 9, "ends of the others")
        equal(reads[0].cancel(), False, "whether there is anything to cancel in a completed read")


@scenario(tags=("smoke",))
def cancel_io_takes_all_of_a_thread(t: Context) -> None:
    """CancelIo ends all 40 pending reads of the calling thread long before their turn would have come."""
    with t.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(40)]
        device.cancel_io()
        ends = [ending(pending, 1.0) for pending in reads]
        assert ends.count("cancelled") >= 20, f"of 40 reads ended: {ends}"
        equal(set(ends) <= {"data", "cancelled"}, True, "whether every read had data or was cancelled")
        equal(ending(device.read_async(13)), "data", "end of a read afterwards")


@scenario
def cancel_io_ex_from_another_thread(t: Context) -> None:
    """CancelIoEx ends reads that another thread has issued, CancelIo does not."""
    with t.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(100)]
        t.threads(1, lambda _index: device.cancel_io())
        equal(reads[-1].done, False, "whether CancelIo of another thread ended a read")
        t.threads(1, lambda _index: device.cancel_io_ex())
        ends = [ending(pending, 1.0) for pending in reads]
        assert ends.count("cancelled") >= 10, f"of 100 reads ended: {ends}"


@scenario
def cancel_leaves_other_handles_alone(t: Context) -> None:
    """Cancelling all reads of one handle leaves those of another handle pending."""
    with t.open(LINK, overlapped=True) as cancelled, t.open(LINK, overlapped=True) as spared:
        others = [spared.read_async(13) for _ in range(2)]
        reads = [cancelled.read_async(13) for _ in range(20)]
        cancelled.cancel_io_ex()
        equal([ending(pending) for pending in others], ["data", "data"], "ends of the other handle's reads")
        assert "cancelled" in [ending(pending, 1.0) for pending in reads], "no read was cancelled"


@scenario
def cancel_races_completion(t: Context) -> None:
    """Reads cancelled around the moment they complete end exactly once, with data or as cancelled."""
    ends = {"data": 0, "cancelled": 0}
    with t.open(LINK, overlapped=True) as device:
        for step in range(12):
            pending = device.read_async(13)
            pause_until = time.monotonic() + PERIOD_S * (0.4 + 0.08 * step)
            while time.monotonic() < pause_until and not pending.done:
                time.sleep(0.002)
            pending.cancel()
            end = ending(pending, 2.0)
            one_of(end, tuple(ends), "end of a read")
            ends[end] += 1
        t.note(f"{ends['data']} with data, {ends['cancelled']} cancelled")
        equal(ending(device.read_async(13)), "data", "end of a read afterwards")


@scenario(deadline_s=60)
def a_thousand_reads_outstanding(t: Context) -> None:
    """1,000 reads pend at once; CancelIo ends every one of them, and the next read is served."""
    with t.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(1000)]
        pending_now = 1000 - sum(pending.done for pending in reads[:500])
        device.cancel_io()
        ends = [ending(pending, 5.0) for pending in reads]
        equal(set(ends) <= {"data", "cancelled"}, True, "whether every read had data or was cancelled")
        # How many end with data meanwhile depends on the host: it may take half a minute to issue them all.
        assert ends.count("cancelled") >= 100, f"only {ends.count('cancelled')} of 1000 reads were cancelled"
        t.note(f"{pending_now} pending before the cancellation, {ends.count('cancelled')} cancelled")
        equal(ending(device.read_async(13)), "data", "end of a read afterwards")


@scenario
def close_with_reads_pending(t: Context) -> None:
    """Every read that pends when its handle is closed ends, with data or as cancelled."""
    with t.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(8)]
    for pending in reads:
        one_of(ending(pending, 5.0), ("data", "cancelled"), "end of a read on a closed handle")
    with t.open(LINK, overlapped=True) as device:
        equal(ending(device.read_async(13)), "data", "end of a read on the next handle")


@scenario(needs=("irp-cleanup",))
def close_cancels_at_once(t: Context) -> None:
    """Closing the last handle cancels its 200 reads at once instead of letting them wait for their turn."""
    with t.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(200)]
    ends = [ending(pending, 1.0) for pending in reads]
    assert ends.count("cancelled") >= 100, f"only {ends.count('cancelled')} of 200 reads were cancelled"
    equal(set(ends) <= {"data", "cancelled"}, True, "whether every read had data or was cancelled")


@scenario(deadline_s=60)
def killed_process_leaves_no_reads(t: Context) -> None:
    """A process killed with 100 reads pending leaves none in the queue: the next caller is served at once."""
    with t.spawn(wait_in_reads, 100) as child:
        equal(child.receive(), "reading", "what the second process says")
        child.kill()
    with t.open(LINK, overlapped=True) as device:
        started = time.monotonic()
        equal(device.read_async(13).wait(), GREETING, "data of a read after the kill")
        took = time.monotonic() - started
        assert took < 40 * PERIOD_S, f"the read took {took:.2f} s: it waited behind a dead process"


def wait_in_reads(child: Child, count: int) -> None:
    """Second process: starts reads, says so, and waits to be killed."""
    with child.open(LINK, overlapped=True) as device:
        reads = [device.read_async(13) for _ in range(count)]
        child.send("reading")
        child.receive()
        del reads


@scenario(deadline_s=60)
def unload_with_reads_pending(t: Context) -> None:
    """Stopping the driver with 20 reads pending ends every read, and the driver starts again."""
    with t.services() as manager, manager.open(t.service) as service:
        try:
            with t.open(LINK, overlapped=True) as device:
                reads = [device.read_async(13) for _ in range(20)]
                service.stop()  # Windows unloads when the handle is closed; until then its reads complete
                for pending in reads:
                    one_of(ending(pending, 10.0), ("data", "cancelled"), "end of a read at the unload")
            service.wait_for(State.STOPPED, 10.0)
            with raises_win32(constants.ERROR_FILE_NOT_FOUND):
                t.open(LINK)
        finally:
            start_again(service)
    with t.open(LINK, overlapped=True) as device:
        equal(ending(device.read_async(13)), "data", "end of a read after the restart")


@scenario
def two_threads_share_a_handle(t: Context) -> None:
    """Reads of two threads on one handle all get their data; none is lost or completed for another."""
    with t.open(LINK, overlapped=True) as device:

        def read_some(index: int) -> list[bytes]:
            return [device.read_async(1 + index + step).wait() for step in range(4)]

        expected = [[GREETING[: 1 + index + step] for step in range(4)] for index in range(2)]
        equal(t.threads(2, read_some), expected, "data of each thread's reads")


@scenario
def write_is_refused(t: Context) -> None:
    """A write fails with invalid function while reads pend, and they still get their data."""
    with t.open(LINK, overlapped=True) as device:
        pending = device.read_async(13)
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.write_async(b"nothing takes this").wait()
        equal(ending(pending), "data", "end of the read")
