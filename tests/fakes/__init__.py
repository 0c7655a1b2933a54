"""Fakes of the bench's boundaries, one for each protocol of `harness.interfaces`."""

from tests.fakes.agent import FakeAgent
from tests.fakes.debug import FakeDebugStream
from tests.fakes.files import FakeFileTransfer
from tests.fakes.transport import FakeGuestProcess, FakeTransport

__all__ = ["FakeAgent", "FakeDebugStream", "FakeFileTransfer", "FakeGuestProcess", "FakeTransport"]
