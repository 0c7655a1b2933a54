"""Valid requests of the driver of planted bugs."""

from __future__ import annotations

from agent import Context, scenario


@scenario(cases=["Long", "Short", "Overflow", "Race"])
def status(t: Context, device: str) -> None:
    """Each device but one answers a request without buffers."""
    with t.open(rf"\\.\Planted{device}") as opened:
        assert opened.ioctl(0x222000) == b""
