"""A fake kernel that repeats what a real one sent in a recorded serial session.

It goes through the recording packet by packet: it prints and halts in the recorded order, a halt ends when
the host continues, a prompt when it is answered. Requests are answered with what that kernel answered in the
same halt, whatever their ids, their order or their number; requests that the recording does not have are
refused.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from harness.debuggers.kd.capture.file import opened
from harness.debuggers.kd.capture.recording import read_recording
from harness.debuggers.kd.com.framing import SerialReader
from harness.debuggers.kd.io import DebugIo, is_prompt
from harness.debuggers.kd.manipulate import GOES_ON, Api, Manipulate
from harness.debuggers.kd.packets import Packet, PacketType
from tests.fakes.kd_machine import UNSUCCESSFUL


@dataclass
class Said:
    """One packet of the target, the replies of that halt, and the host's packet that ended the wait."""

    packet: Packet
    replies: list[Manipulate] = field(default_factory=list)
    answer: Packet | None = None


class Recording:
    """A recorded session; `said` has each packet of the target once, in order, except replies."""

    def __init__(self, path: Path) -> None:
        self.said: list[Said] = []
        self.seconds = 0.0
        readers = {False: SerialReader(), True: SerialReader()}
        with opened(path) as file:
            for passed in read_recording(file):
                self.seconds = passed.time
                for found in readers[passed.from_host].feed(passed.data):
                    assert isinstance(found, Packet), "the recordings have no damage"
                    if not found.control:
                        self._take(found, from_host=passed.from_host)

    @property
    def text(self) -> str:
        """All that was printed."""
        io = [said.packet for said in self.said if said.packet.type == PacketType.DEBUG_IO]
        return "".join(DebugIo.parse(packet.payload).text for packet in io)

    @property
    def statuses(self) -> list[int]:
        """How each halt was continued."""
        answers = [said.answer for said in self.said if said.packet.type == PacketType.STATE_CHANGE64]
        assert None not in answers, "every halt was continued"
        return [continued_with(answer) for answer in answers if answer is not None]

    def _take(self, packet: Packet, *, from_host: bool) -> None:
        if not from_host and packet.type != PacketType.STATE_MANIPULATE:
            self.said.append(Said(packet))
        elif not from_host:
            self.said[-1].replies.append(Manipulate.parse(packet.payload))
        elif packet.type != PacketType.STATE_MANIPULATE or Manipulate.parse(packet.payload).api in GOES_ON:
            self.said[-1].answer = packet


def continued_with(packet: Packet) -> int:
    """The status in a request to continue."""
    return int.from_bytes(Manipulate.parse(packet.payload).union[:4], "little")


class RecordedKernel:
    """Implements `Machine`.

    `answers` has the host's packets, as in `Said.answer`; `refused` the requests that the recording does not
    have.
    """

    def __init__(self, recording: Recording) -> None:
        self._left = deque(recording.said)
        self._now: Said | None = None
        self.answers: list[Packet] = []
        self.refused: list[Manipulate] = []

    @property
    def done(self) -> bool:
        """Whether every recorded packet was sent."""
        return not self._left

    def say(self) -> Packet | None:
        if not self._left:
            return None
        self._now = self._left.popleft()
        return Packet(self._now.packet.type, 0, self._now.packet.payload)

    def told(self, packet: Packet) -> None:
        self.answers.append(packet)

    def break_in(self) -> None:
        raise AssertionError("the recording has no break-in")

    def reply(self, request: Manipulate) -> bytes:
        assert self._now is not None
        replies = [one for one in self._now.replies if one.api == request.api]
        if request.api == Api.READ_VIRTUAL:
            return self._memory(request, replies)
        # Of several, such as of a context that was read and read again, the first: nothing changed between.
        for reply in replies:
            if reply.processor == request.processor:
                return reply.encode()
        return self._refusal(request, request.union)

    def _memory(self, request: Manipulate, replies: list[Manipulate]) -> bytes:
        address, count = struct.unpack_from("<QI", request.union)
        for reply in replies:
            start, _, actual = struct.unpack_from("<QII", reply.union)
            data = reply.data[address - start : min(actual, address - start + count)]
            if start <= address and len(data) == count:
                union = struct.pack("<QII", address, count, count)
                answer = Manipulate(request.api, request.processor_level, request.processor, 0, union, data)
                return answer.encode()
        return self._refusal(request, struct.pack("<QII", address, count, 0))

    def _refusal(self, request: Manipulate, union: bytes) -> bytes:
        self.refused.append(request)
        level, processor = request.processor_level, request.processor
        return Manipulate(request.api, level, processor, UNSUCCESSFUL, union, b"").encode()


def prompts(recording: Recording) -> int:
    """How often the recorded kernel waited for an answer."""
    return sum(is_prompt(said.packet) for said in recording.said if said.packet.type == PacketType.DEBUG_IO)
