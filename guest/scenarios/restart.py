"""Starts the driver again after a scenario has stopped it."""

from __future__ import annotations

from agent import Service, State


def start_again(service: Service) -> None:
    """Starts the driver unless it runs; first waits for a stop that is under way."""
    if service.status().state is State.STOP_PENDING:
        service.wait_for(State.STOPPED, 10.0)
    if service.status().state is State.STOPPED:
        service.start()
    service.wait_for(State.RUNNING, 10.0)


def restart(service: Service) -> None:
    """Stops the driver and starts it again."""
    service.stop()
    service.wait_for(State.STOPPED, 10.0)
    start_again(service)
