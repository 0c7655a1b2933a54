"""A clean-up is completed despite Ctrl-C, and a second Ctrl-C interrupts it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from harness.host.interrupts import SIGNALS, deferred


@pytest.fixture(autouse=True)
def as_in_main() -> Iterator[None]:
    """SIGTERM is handled as `harness.__main__` has it; all is as before afterwards."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    handlers = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_begun_is_done_first(number: signal.Signals) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        os.kill(os.getpid(), number)
        with deferred():
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_a_second_one_is_heeded_at_once() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("first")
        os.kill(os.getpid(), signal.SIGINT)
        done.append("second")
    assert done == ["first"]


def test_without_one_nothing_happens() -> None:
    with deferred():
        pass
    with pytest.raises(ValueError, match="its own"), deferred():
        raise ValueError("its own")


def test_other_threads_get_no_signals() -> None:
    done = []

    def work() -> None:
        with deferred():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]
