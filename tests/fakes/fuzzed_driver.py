"""A driver for the fuzzer's loop without a guest: it reaches edges, compares, and goes down."""

from __future__ import annotations

from agent.fuzz.case import Case, input_of
from agent.fuzz.execute import Executor
from agent.fuzz.guidance import Guidance, Novelty

DEVICE = r"\??\Fuzzed"
CODE, HIDDEN = 0x222004, 0x222008
MAGIC = 0x4B52414D


class DriverDownError(Exception):
    """The driver went down."""


class FuzzedDriver(Executor):
    """Goes down when HIDDEN, which no contract names, gets MAGIC and then 7. Attributes: `ran`, its edges."""

    def __init__(self, *, crashes: bool = True) -> None:
        self.issued = 0
        self.lost = []
        self.crashes = crashes
        self.ran: set[int] = set()
        self.compared: list[tuple[int, int]] = []

    def opens(self, device: str) -> bool:
        """It has one device."""
        return device == DEVICE

    def run(self, case: Case) -> None:
        """Raises `DriverDownError` as its bug says."""
        for operation in case:
            self.issued += 1
            if operation["op"] == "ioctl":
                self._control(operation["code"], input_of(operation))

    def _control(self, code: int, data: bytes) -> None:
        self.compared += [(code, CODE), (code, HIDDEN)]
        self.ran.add(1)
        if code != HIDDEN:
            return
        self.ran.add(2)
        if len(data) < 8:
            self.compared.append((len(data), 8))
            return
        self.ran.add(3)
        self.compared.append((int.from_bytes(data[:4], "little"), MAGIC))
        if int.from_bytes(data[:4], "little") != MAGIC:
            return
        self.ran.add(4)
        self.compared.append((int.from_bytes(data[4:8], "little"), 7))
        if int.from_bytes(data[4:8], "little") == 7 and self.crashes:
            raise DriverDownError


class FuzzedGuidance(Guidance):
    """What the instrument would say of a `FuzzedDriver`."""

    def __init__(self, driver: FuzzedDriver) -> None:
        self._driver = driver
        self._seen: set[int] = set()

    def close(self) -> None:
        """Nothing is open."""

    def ask(self, what: int = 0) -> Novelty:
        """See `Guidance`."""
        driver = self._driver
        new = driver.ran - self._seen if not what else set()
        self._seen = self._seen | driver.ran if not what else set()
        compared, driver.compared, driver.ran = tuple(driver.compared), [], set()
        return Novelty(len(new), 0, len(self._seen), tuple((a, b) for a, b in compared if a != b))
