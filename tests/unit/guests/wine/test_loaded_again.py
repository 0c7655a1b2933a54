"""The Wine debug stream remembers that a driver came back after a crash."""

from __future__ import annotations

from tests.unit.guests.wine.test_debug_stream import BUGCHECK, LOADED, Guest, dbgprint, guest

__all__ = ["guest"]


def test_the_load_of_a_known_image_after_a_crash_is_remembered(guest: Guest) -> None:
    again = LOADED.replace("0120:0130", "0140:0144")
    other = again.replace(".sys", "2.sys")
    guest.print(LOADED, LOADED, BUGCHECK, other, f"\x1e{again}", dbgprint(again))
    assert guest.stream.crash() is not None
    assert not guest.stream.loaded_again()
    guest.print(again)
    assert guest.stream.loaded_again()
    guest.stream.dismiss("not a crash: it still runs")
    guest.print(again)
    assert not guest.stream.loaded_again()
    guest.print(BUGCHECK.replace("0120:0130", "0140:0144"), LOADED)
    assert guest.stream.loaded_again()
    guest.stream.rearm()
    assert not guest.stream.loaded_again()
