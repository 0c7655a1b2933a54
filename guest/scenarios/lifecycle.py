"""The driver's life cycle: install, start, open, HELLO, stop, remove, and these in a wrong order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent import (
    Context,
    Service,
    ServiceManager,
    State,
    WaitTimeoutError,
    Win32Error,
    equal,
    raises_win32,
    scenario,
)
from agent.deadline import Deadline
from agent.win32 import constants
from scenarios import contract, registers
from scenarios.restart import restart, start_again

SPARE = "winvm-spare"  # a service that exists only inside these scenarios
WINE_CANNOT_LOAD = 1114  # ERROR_DLL_INIT_FAILED, Wine's answer to a driver file that it cannot load
LINKS = {
    "hello": "Winvm",
    "registers": "CR42VirtualRegister",
    "exclusive": "LySharkDriver",
    "mapping": "WinDDK",
    "processes": "Symboliclnk",
    "messages": "MsgBoard",
    "direct_read": "LySharkSync",
    "asynchronous": "LySharkAsync",
}


def hello(t: Context) -> contract.Hello:
    """The loaded driver's answer to HELLO."""
    with t.open("Winvm") as device:
        return device.ioctl_struct(contract.WinvmIoctl.HELLO, contract.Hello)


def exists(manager: ServiceManager, name: str) -> bool:
    """Whether there is a service of this name."""
    try:
        manager.open(name).close()
    except Win32Error as error:
        equal(error.code, constants.ERROR_SERVICE_DOES_NOT_EXIST, "error of opening the service")
        return False
    return True


def wait_until_gone(manager: ServiceManager, name: str, timeout_s: float = 5.0) -> None:
    """Waits until the name is free: a deleted service exists until its last handle is closed."""
    deadline = Deadline.after(timeout_s)
    while exists(manager, name):
        if deadline.expired:
            raise WaitTimeoutError(f"the removal of service {name}", timeout_s)
        time.sleep(0.02)


@contextmanager
def spare_service(manager: ServiceManager, path: str) -> Iterator[Service]:
    """A second service for the `.sys` at `path`, removed at the end."""
    with manager.create(SPARE, path) as service:
        try:
            yield service
        finally:
            service.remove()
    wait_until_gone(manager, SPARE)


@scenario(tags=("smoke",))
def hello_names_the_contract(t: Context) -> None:
    """HELLO answers with the version and hash of the contract these scenarios were generated from."""
    answer = hello(t)
    equal(answer.size, 48, "size")
    equal(answer.version, contract.CONTRACT_VERSION, "contract version")
    equal(bytes(answer.hash), contract.CONTRACT_HASH, "contract hash")
    equal(answer.reserved, 0, "the reserved field")


@scenario(cases=(0, 4, 47))
def hello_with_a_short_output(t: Context, room: int) -> None:
    """HELLO with room for less than the answer fails and writes nothing."""
    with t.open("Winvm") as device, t.memory(48) as memory:
        memory.write(b"\x55" * 48)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl_raw(contract.WinvmIoctl.HELLO, 0, 0, memory.address if room else 0, room)
        equal(memory.read(), b"\x55" * 48, "the output buffer")


@scenario(cases=LINKS)
def open_and_close_often(t: Context, link: str) -> None:
    """Each device opens through its symbolic link, ten times in a row."""
    for _ in range(10):
        t.open(link).close()


@scenario(
    tags=("smoke",),
    deadline_s=60,
    expect_dbgprint=[r"winvm: unloaded", r"winvm: DriverEntry, (release|fault) build, contract 1"],
)
def stop_and_start(t: Context) -> None:
    """After a stop no device opens and the event's name is gone; after a start all are back."""
    with t.services() as manager, manager.open(t.service) as service:
        try:
            service.stop()
            equal(service.wait_for(State.STOPPED, 10.0).exit_code, 0, "exit code of the stopped service")
            for link in LINKS.values():
                with raises_win32(constants.ERROR_FILE_NOT_FOUND):
                    t.open(link)
            with raises_win32(constants.ERROR_FILE_NOT_FOUND):
                t.open_event("Global\\ProcLook")
        finally:
            start_again(service)
    for link in LINKS.values():
        t.open(link).close()
    t.open_event("Global\\ProcLook").close()
    equal(hello(t).version, contract.CONTRACT_VERSION, "contract version after the restart")


@scenario(deadline_s=60)
def a_fresh_load_remembers_nothing(t: Context) -> None:
    """After a restart the registers are 0 and the message board is empty and counts from 0."""
    with t.open(registers.LINK) as device, t.open("MsgBoard") as board:
        for register in (1, 2, 3):
            registers.set_register(device, register, 99)
        board.ioctl(contract.MsgboardIoctl.SHOW, b"before the restart", 4)
    with t.services() as manager, manager.open(t.service) as service:
        restart(service)
    with t.open(registers.LINK) as device, t.open("MsgBoard") as board:
        equal([registers.get_register(device, n) for n in (1, 2, 3)], [0, 0, 0], "registers")
        equal(board.ioctl(contract.MsgboardIoctl.GET, out=64), b"", "the newest message")
        equal(board.ioctl(contract.MsgboardIoctl.SHOW, b"first", 4), b"\0\0\0\0", "number of a message")


@scenario
def already_installed(t: Context) -> None:
    """Installing the service again is refused as existing, and the driver keeps running."""
    with t.services() as manager:
        for _ in range(3):
            with raises_win32(constants.ERROR_SERVICE_EXISTS):
                manager.create(t.service, t.driver_path)
    equal(hello(t).version, contract.CONTRACT_VERSION, "contract version")


@scenario
def already_running(t: Context) -> None:
    """Starting the running driver is refused, and it stays running."""
    with t.services() as manager, manager.open(t.service) as service:
        with raises_win32(constants.ERROR_SERVICE_ALREADY_RUNNING):
            service.start()
        equal(service.status().state, State.RUNNING, "state")


@scenario(deadline_s=60)
def already_stopped(t: Context) -> None:
    """Stopping a stopped driver is refused as not active."""
    with t.services() as manager, manager.open(t.service) as service:
        try:
            service.stop()
            service.wait_for(State.STOPPED, 10.0)
            with raises_win32(constants.ERROR_SERVICE_NOT_ACTIVE):
                service.stop()
        finally:
            start_again(service)


@scenario
def not_installed(t: Context) -> None:
    """Opening a service that was never installed fails as not existing."""
    with t.services() as manager, raises_win32(constants.ERROR_SERVICE_DOES_NOT_EXIST):
        manager.open("winvm-never-installed")


@scenario
def marked_for_deletion(t: Context) -> None:
    """A deleted service that is still open can be neither deleted nor installed again until it is closed."""
    with t.services() as manager:
        with manager.create(SPARE, t.driver_path) as service, manager.open(SPARE) as second:
            service.delete()
            with raises_win32(constants.ERROR_SERVICE_MARKED_FOR_DELETE):
                second.delete()
            with raises_win32(constants.ERROR_SERVICE_MARKED_FOR_DELETE):
                manager.create(SPARE, t.driver_path)
        wait_until_gone(manager, SPARE)
        with spare_service(manager, t.driver_path) as service:
            equal(service.status().state, State.STOPPED, "state of the service installed again")


@scenario(deadline_s=60)
def deleted_while_running(t: Context) -> None:
    """A driver whose service is deleted while it runs works until it is stopped; then it installs again."""
    with t.services() as manager:
        with manager.open(t.service) as service:
            service.delete()
            equal(hello(t).version, contract.CONTRACT_VERSION, "contract version of the deleted driver")
            with raises_win32(constants.ERROR_SERVICE_MARKED_FOR_DELETE):
                manager.create(t.service, t.driver_path)
            service.stop()
            service.wait_for(State.STOPPED, 10.0)
        wait_until_gone(manager, t.service)
        with manager.create(t.service, t.driver_path) as service:
            start_again(service)
    equal(hello(t).version, contract.CONTRACT_VERSION, "contract version of the new driver")


@scenario(deadline_s=60)
def removed_and_installed_again(t: Context) -> None:
    """Stop, remove, install and start in a row leaves a working driver; in between there is no service."""
    with t.services() as manager:
        with manager.open(t.service) as service:
            service.remove()
        wait_until_gone(manager, t.service)
        with manager.create(t.service, t.driver_path) as service:
            equal(service.status().state, State.STOPPED, "state after the installation")
            with raises_win32(constants.ERROR_FILE_NOT_FOUND):
                t.open("Winvm")
            start_again(service)
    equal(hello(t).version, contract.CONTRACT_VERSION, "contract version")


@scenario
def missing_file_does_not_start(t: Context) -> None:
    """A service whose file is missing fails to start, stays stopped and can be removed."""
    with (
        t.services() as manager,
        spare_service(manager, "C:\\winvm\\no-such-folder\\no-such-driver.sys") as service,
    ):
        with raises_win32(constants.ERROR_FILE_NOT_FOUND, constants.ERROR_PATH_NOT_FOUND, WINE_CANNOT_LOAD):
            service.start()
        equal(service.status().state, State.STOPPED, "state")


@scenario(deadline_s=60, expect_dbgprint=[r"winvm: DriverEntry failed, device Winvm status 0xC0000035"])
def second_instance_gives_way(t: Context) -> None:
    """A second copy of the driver fails in DriverEntry and cleans up; the first is not affected."""
    copy = Path(t.driver_path).with_name("winvm-spare.sys")  # Windows loads one file only once
    shutil.copyfile(t.driver_path, copy)
    try:
        with t.open(registers.LINK) as device:
            registers.set_register(device, 1, 4711)
            with t.services() as manager, spare_service(manager, str(copy)) as service:
                with raises_win32():
                    service.start()
                equal(service.status().state, State.STOPPED, "state of the second service")
            equal(registers.get_register(device, 1), 4711, "register 1 of the first")
    finally:
        copy.unlink()
    for link in LINKS.values():
        t.open(link).close()


@scenario(deadline_s=60)
def stop_under_an_open_handle(t: Context) -> None:
    """After a stop under an open handle no new one opens; the stop ends at its close; a start works again."""
    with t.services() as manager, manager.open(t.service) as service:
        try:
            with t.open(registers.LINK) as device:
                registers.set_register(device, 1, 5)
                service.stop()  # Windows unloads only when the handle is closed, Wine at once
                with raises_win32():
                    t.open(registers.LINK)
            service.wait_for(State.STOPPED, 10.0)
        finally:
            start_again(service)
    with t.open(registers.LINK) as device:
        registers.still_works(device)


@scenario(deadline_s=60)
def load_unload_cycles(t: Context) -> None:
    """The driver can be loaded and unloaded many times (parameter `cycles`, 2 by default)."""
    cycles = int(t.params.get("cycles", 2))
    with t.services() as manager, manager.open(t.service) as service:
        for cycle in range(cycles):
            restart(service)
            equal(hello(t).version, contract.CONTRACT_VERSION, f"contract version in cycle {cycle}")
    t.note(f"{cycles} cycles")


@scenario(build="release")
def release_build_has_no_fault_device(t: Context) -> None:
    """HELLO reports the release build, and the fault device does not exist."""
    equal(hello(t).fault_build, 0, "fault_build of HELLO")
    with raises_win32(constants.ERROR_FILE_NOT_FOUND):
        t.open("WinvmFault")
