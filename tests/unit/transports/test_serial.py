"""Commands and files over a serial line, with the guest's real service behind clean and damaged wires."""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, TransportError
from harness.interfaces import FileTransfer, Transport
from harness.transports.serial import SerialTransport
from harness.transports.serial_files import SerialFiles
from harness.transports.serial_frames import DATA, PAYLOAD_LIMIT, RESET, RESET_ACK, Frame, FrameReader
from harness.transports.serial_line import SerialLine
from harness.transports.serial_messages import (
    CHUNK,
    EXIT,
    OUTPUT,
    PIECE_BYTES,
    PLACE,
    REPLY,
    chunk,
    chunks,
    described,
    message,
    parse,
)
from tests.fakes.serial_wire import SerialGuest

ECHO = "import sys\nfor line in sys.stdin: sys.stdout.write('heard ' + line); sys.stdout.flush()"


def soon(seconds: float = 20.0) -> Deadline:
    return Deadline.after(seconds)


@pytest.fixture(params=[0.0, 0.003], ids=["clean", "damaged"])
def guest(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SerialGuest]:
    with SerialGuest(tmp_path / "line", rate=request.param) as serving:
        yield serving


@pytest.fixture
def line(guest: SerialGuest) -> Iterator[SerialLine]:
    connected = SerialLine(guest.path)
    yield connected
    connected.close()


@pytest.fixture
def transport(line: SerialLine) -> Transport:
    return SerialTransport(line)


@pytest.fixture
def files(line: SerialLine) -> FileTransfer:
    return SerialFiles(line)


def test_a_program_runs_to_its_end(transport: Transport) -> None:
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = transport.run([sys.executable, "-c", script], soon())
    assert (done.exit_code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")


def test_output_of_any_size_arrives_whole(transport: Transport) -> None:
    done = transport.run([sys.executable, "-c", "print('x' * 300_000)"], soon())
    assert done.stdout == b"x" * 300_000 + b"\n"


def test_lines_go_both_ways(transport: Transport) -> None:
    process = transport.start([sys.executable, "-c", ECHO], soon())
    heard = process.receive(soon())
    for number in range(20):
        process.send(b"line %d\n" % number)
        assert next(heard) == ("stdout", b"heard line %d\n" % number)
    process.send(b"", end=True)
    assert list(heard) == []
    assert process.exit_code == 0


def test_a_program_that_outlives_the_deadline_is_ended(transport: Transport) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="did not finish within"):
        transport.run([sys.executable, "-c", "import time; time.sleep(60)"], soon(1.0))
    assert time.monotonic() - began < 10


def test_a_program_that_is_not_there(transport: Transport) -> None:
    with pytest.raises(TransportError, match="refused: FileNotFoundError"):
        transport.start(["/no/such/program"], soon())


def test_too_long_a_command_is_refused_here(transport: Transport) -> None:
    with pytest.raises(ConfigurationError, match="do not fit into one message"):
        transport.start(["program", "x" * 5000], soon())


@pytest.mark.parametrize("size", [0, 1, 4096, 300_001])
@pytest.mark.parametrize("compressible", [False, True])
def test_a_file_goes_there_and_back(
    files: FileTransfer, tmp_path: Path, size: int, compressible: bool
) -> None:
    content = bytes(size) if compressible else random.Random(size).randbytes(size)
    source, back = tmp_path / "source", tmp_path / "deep" / "back"
    source.write_bytes(content)
    there = tmp_path / "guest" / "folder" / "name.bin"
    assert files.push(source, str(there), soon(60)) == size
    assert there.read_bytes() == content
    assert files.size(str(there), soon()) == size
    assert files.pull(str(there), back, soon(60), limit=size) == size
    assert back.read_bytes() == content
    assert [path.name for path in there.parent.iterdir()] == ["name.bin"]


@pytest.mark.parametrize("repeats", [1, 2, 3, 5, 400])
def test_a_file_is_sent_in_as_few_chunks_as_it_compresses_to(repeats: int) -> None:
    source = random.Random(repeats)
    piece = b"".join(source.randbytes(64) * repeats for _ in range(400))[:PIECE_BYTES]
    found, sent = b"", 0
    for one in chunks(3, 1000, piece):
        kind, number, body = parse(one)
        offset, data = chunk(body)
        assert (kind, number, offset) == (CHUNK, 3, 1000 + len(found))
        assert len(one) <= PAYLOAD_LIMIT
        found, sent = found + data, sent + len(one)
    assert found == piece
    assert sent < len(piece) / min(repeats, 5) * 1.4 + 100


def test_a_file_larger_than_the_limit_is_not_pulled(files: FileTransfer, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(2000))
    with pytest.raises(TransportError, match="2000 bytes, more than 1999"):
        files.pull(str(tmp_path / "big"), tmp_path / "local", soon(), limit=1999)
    assert not (tmp_path / "local").exists()


def test_what_is_not_there(files: FileTransfer, tmp_path: Path) -> None:
    assert files.size(str(tmp_path / "none"), soon()) is None
    with pytest.raises(TransportError, match="refused"):
        files.pull(str(tmp_path / "none"), tmp_path / "local", soon(), limit=10)
    with pytest.raises(ConfigurationError, match="is not a file"):
        files.push(tmp_path / "none", "/tmp/x", soon())


def test_a_place_that_cannot_be_written_is_reported(files: FileTransfer, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(500_000))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransportError, match="refused"):
        files.push(source, str(tmp_path / "file" / "below"), soon())


def test_files_and_lines_share_the_line(line: SerialLine, tmp_path: Path) -> None:
    process = SerialTransport(line).start([sys.executable, "-c", ECHO], soon())
    source = tmp_path / "source"
    source.write_bytes(random.Random(1).randbytes(400_000))
    copied = threading.Thread(
        target=SerialFiles(line).push, args=(source, str(tmp_path / "there"), soon(60)), daemon=True
    )
    copied.start()
    heard = process.receive(soon(60))
    for number in range(10):
        process.send(b"%d\n" % number)
        assert next(heard) == ("stdout", b"heard %d\n" % number)
    copied.join(60)
    assert (tmp_path / "there").read_bytes() == source.read_bytes()
    process.terminate()


def test_a_program_is_found_again_after_the_wire_was_changed(tmp_path: Path) -> None:
    with SerialGuest(tmp_path / "line") as guest:
        first = SerialLine(guest.path)
        process = SerialTransport(first).start([sys.executable, "-c", ECHO], soon())
        process.send(b"one\n")
        assert next(process.receive(soon())) == ("stdout", b"heard one\n")
        first.close()
        second = SerialLine(guest.path)
        again = SerialTransport(second).attach(process.number, "the program")
        heard = again.receive(soon())
        again.send(b"two\n")
        assert next(heard) == ("stdout", b"heard two\n")
        again.send(b"", end=True)
        assert list(heard) == []
        second.close()
        third = SerialLine(guest.path)
        late = SerialTransport(third).attach(process.number, "the program")
        assert list(late.receive(soon())) == []
        assert late.exit_code == 0
        third.close()


def test_a_line_that_ends_ends_every_wait(tmp_path: Path) -> None:
    with SerialGuest(tmp_path / "line") as guest:
        line = SerialLine(guest.path)
        process = SerialTransport(line).start([sys.executable, "-c", ECHO], soon())
        threading.Timer(0.3, guest.hang_up).start()
        began = time.monotonic()
        with pytest.raises(TransportError, match="QEMU closed the guest's serial line"):
            list(process.receive(soon(30)))
        assert time.monotonic() - began < 5
        process.terminate()
        line.close()


def test_there_is_no_qemu(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="cannot be reached"):
        SerialTransport(SerialLine(tmp_path / "none")).wait_ready(soon(5))


def test_a_guest_that_does_not_listen_yet(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "line"))
        listener.listen(1)
        line = SerialLine(tmp_path / "line")
        with pytest.raises(DeadlineError, match="did not answer on its serial line"):
            SerialTransport(line).wait_ready(soon(1.0))
        line.close()


class HostileGuest:
    """Answers each message of the host with what `answer` makes of it."""

    def __init__(self, path: Path, answer: Callable[[int, int, bytes], list[bytes]]) -> None:
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        wire, _ = self._listener.accept()
        reader, sequence, taken = FrameReader(), 0, 0
        try:
            while data := wire.recv(65536):
                for frame in reader.feed(data):
                    if frame.kind == RESET:
                        wire.sendall(Frame(RESET_ACK, frame.session).encode())
                    elif frame.kind == DATA:
                        taken += 1
                        for body in self._answer(*parse(frame.payload)):
                            wire.sendall(Frame(DATA, frame.session, sequence, taken, body).encode())
                            sequence = (sequence + 1) % 65536
        except OSError:
            return


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Callable[[Callable[[int, int, bytes], list[bytes]]], SerialLine]]:
    opened: list[tuple[HostileGuest, SerialLine]] = []

    def make(answer: Callable[[int, int, bytes], list[bytes]]) -> SerialLine:
        guest = HostileGuest(tmp_path / "hostile", answer)
        opened.append((guest, SerialLine(tmp_path / "hostile")))
        return opened[-1][1]

    yield make
    for guest, line in opened:
        line.close()
        guest.close()


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([(REPLY, b"not json")], "not JSON"),
        ([(REPLY, b"[" * 4000)], "not JSON"),
        ([(REPLY, b'{"size": 5, "sha256": "aa"}')], "is not what the guest read"),
        ([(REPLY, b'{"error": "\\u001b[31m no"}')], "refused"),
        ([(CHUNK, b"short")], "no offset"),
        ([(CHUNK, PLACE.pack(7, 0) + b"x")], "for offset 7"),
        ([(CHUNK, PLACE.pack(0, 0) + bytes(2000))], "at most 1000"),
        ([(CHUNK, PLACE.pack(0, 1) + b"no zlib")], "damaged"),
        ([(CHUNK, PLACE.pack(0, 1) + __import__("zlib").compress(bytes(1 << 20)))], "more than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hostile_guest_s_files(
    hostile: Callable[..., SerialLine], tmp_path: Path, answers: list[tuple[int, bytes]], message: str
) -> None:
    line = hostile(lambda kind, number, body: [message_of(a, number, b) for a, b in answers])
    with pytest.raises(TransportError, match=message) as caught:
        SerialFiles(line).pull(r"C:\x", tmp_path / "local", soon(10), limit=1000)
    assert "\x1b" not in str(caught.value)
    assert not list(tmp_path.glob("*local*"))


def test_a_hostile_guest_that_sends_more_output_than_it_may(hostile: Callable[..., SerialLine]) -> None:
    def answer(kind: int, number: int, body: bytes) -> list[bytes]:
        if kind == 1:  # START
            return [described(REPLY, number, process=3)]
        return [message(OUTPUT, 3, b"\1" + bytes(4000))] * 100

    process = SerialTransport(hostile(answer)).start(["program"], soon())
    received = 0
    with pytest.raises(TransportError, match="more than it was allowed"):
        for _, data in process.receive(soon(10)):
            received += len(data)
            time.sleep(0.01)
    assert received <= 1 << 20


@pytest.mark.parametrize("process", ["3", None, -1, 1 << 40, True])
def test_a_hostile_guest_s_process_number(hostile: Callable[..., SerialLine], process: object) -> None:
    line = hostile(lambda kind, number, body: [described(REPLY, number, process=process)])
    with pytest.raises(TransportError, match="no number"):
        SerialTransport(line).start(["program"], soon())


def test_messages_for_nobody_are_dropped(hostile: Callable[..., SerialLine]) -> None:
    def answer(kind: int, number: int, body: bytes) -> list[bytes]:
        noise = [b"\1", message(99, 5), message(EXIT, 9, b""), message(OUTPUT, 8, b"")]
        return [*noise, described(REPLY, number, size=12)]

    assert SerialFiles(hostile(answer)).size(r"C:\x", soon()) == 12


message_of = message
