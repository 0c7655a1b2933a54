"""Mutated bytes against both ends of a serial line: frames, link, messages.

`python -m tests.fuzz.serial_line --count 200000 [--seed N]`: nothing but `MessageError` may be raised,
what is kept stays bounded, and the line still works afterwards.
"""

from __future__ import annotations

import argparse
import random

from harness.transports.serial_frames import OVERHEAD, PAYLOAD_LIMIT, Frame
from harness.transports.serial_link import SerialLink
from harness.transports.serial_messages import MessageError, chunk, described, fields, message, parse

SESSION = 7
KEPT = OVERHEAD + PAYLOAD_LIMIT + 4
"""Bytes that a reader may keep between two inputs."""


def frame(source: random.Random, expected: int) -> bytes:
    """A frame with a message that is nearly right, now and then damaged; `expected` is the next in order."""
    body = source.choice(
        [
            source.randbytes(source.randrange(40)),
            message(source.randrange(256), source.randrange(1 << 32), source.randbytes(source.randrange(60))),
            described(
                source.randrange(256), source.randrange(9), path="C:\\x", size=source.randrange(1 << 40)
            ),
            b'{"argv": ' + b"[" * source.randrange(2000),
        ]
    )
    session = source.choice([SESSION] * 40 + [0, source.randrange(1 << 16)])
    sequence, acknowledged = (
        source.choice([expected] * 4 + [0, 0x7FFF, 0xFFFF, source.randrange(1 << 16)]) for _ in range(2)
    )
    data = bytearray(
        Frame(source.choice([1] * 8 + list(range(8))), session, sequence, acknowledged, body).encode()
    )
    if source.random() < 0.3:
        for _ in range(source.randint(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
    if source.random() < 0.1:
        del data[source.randrange(len(data)) :]
    return bytes(data)


def ends() -> tuple[SerialLink, SerialLink]:
    """A host and a guest that have begun a session."""
    host, guest = SerialLink(session=SESSION), SerialLink()
    host.begin()
    list(guest.receive(host.transmit(0.0), 0.0))
    list(host.receive(guest.transmit(0.0), 0.0))
    assert host.open
    return host, guest


def read(body: bytes) -> None:
    """What both ends do with a message; raises `MessageError`."""
    _, _, rest = parse(body)
    for reader in (fields, chunk):
        try:
            reader(rest)
        except MessageError:
            continue


def fuzz(count: int, seed: int) -> int:
    """`count` inputs to each end; returns how many messages they took for whole.

    Raises:
        AssertionError: something grew over its bound, or a new session does not work.
    """
    source = random.Random(seed)
    taken, now = 0, 0.0
    host, guest = ends()
    expected = [0, 0]
    for number in range(count):
        now += source.random()
        for which, end in enumerate((host, guest)):
            if not end.full:
                end.send(b"something to say")
            for body in end.receive(frame(source, expected[which]), now):
                taken, expected[which] = taken + 1, expected[which] + 1
                try:
                    read(body)
                except MessageError:
                    continue
            assert len(end.transmit(now)) < 1 << 20
            assert end.reader.kept <= KEPT
        if number % 500 == 499:
            other = SerialLink(session=SESSION + 1)
            for _ in range(3):  # what a damaged frame left may swallow the first
                other.begin()
                list(guest.receive(bytes(KEPT) + other.transmit(now), now))
                list(other.receive(guest.transmit(now), now))
            assert other.open
            host, guest = ends()
            expected = [0, 0]
    return taken


def main() -> None:
    """Runs from the command line; prints the seed, so that a failure can be repeated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    print(f"{options.count} inputs to each end, {fuzz(options.count, options.seed)} messages taken")


if __name__ == "__main__":
    main()
