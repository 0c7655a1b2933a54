"""A first scenario: it passes for every driver that loads. Add the device's own behaviour below it."""

from __future__ import annotations

from agent import Context, State, equal, scenario


@scenario(tags=("smoke",))  # `winvm smoke` runs it
def driver_runs(t: Context) -> None:
    """The driver's service is running."""
    with t.services() as services, services.open(t.service) as service:
        equal(service.status().state, State.RUNNING, "state of the service")


# @scenario(expect_dbgprint=[r"skeleton: ping"])
# def ping(t: Context) -> None:
#     """The device answers a control code and says so in the debug output."""
#     with t.open(r"\\.\Skeleton") as device:
#         equal(device.ioctl(0x222000, b"ping", 4), b"pong", "answer")
