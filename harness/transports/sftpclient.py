"""An SFTP client that reads no more elements from an answer than the answer has bytes for, and that looks at
the answer to every write.

paramiko believes the counts in an answer: one of 30 bytes that announces 2^31 extended attributes keeps it in
a loop for hours, past every deadline. Of a pipelined file it reads the answers only while more than 100
writes wait for theirs; closing the file drops the rest, so a full disk goes unnoticed. Layouts:
draft-ietf-secsh-filexfer-02, sections 5 and 7.
"""

from __future__ import annotations

import paramiko

_STATUS, _NAME, _ATTRIBUTES = 101, 104, 105
_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 0x1, 0x2, 0x4, 0x8, 0x8000_0000
_FIXED = ((_SIZE, 8), (_OWNER, 8), (_MODE, 4), (_TIMES, 8))


class BoundedClient(paramiko.SFTPClient):
    """paramiko's client, which gets an answer only after its counts are found to be possible."""

    def confirm_writes(self, file: paramiko.SFTPFile) -> None:
        """Waits for the answer to each write that is under way in a pipelined file.

        Raises:
            OSError: the server refused a write.
            paramiko.SFTPError: it answered with something else than a status.
        """
        while file._reqs:  # type: ignore[attr-defined] # missing in the type stubs, as the next
            kind, _ = self._read_response(file._reqs.popleft())  # type: ignore[attr-defined]
            if kind != _STATUS:
                raise paramiko.SFTPError(f"a write was answered with a packet of type {kind}")

    def _read_packet(self) -> tuple[int, bytes]:
        """Type and body of one answer.

        Raises:
            paramiko.SFTPError: it announces more than it contains.
        """
        kind, body = super()._read_packet()  # type: ignore[misc] # missing in the type stubs
        if kind == _NAME:
            count = _number(body, 4)
            at = 8
            for _ in range(count):
                at = _past_attributes(body, _past_string(body, _past_string(body, at)))
        elif kind == _ATTRIBUTES:
            _past_attributes(body, 4)
        return kind, body


def _past_attributes(body: bytes, at: int) -> int:
    """Where the attributes at an offset end."""
    flags = _number(body, at)
    at += 4 + sum(size for flag, size in _FIXED if flags & flag)
    if flags & _EXTENDED:
        count = _number(body, at)
        at += 4
        for _ in range(count):
            at = _past_string(body, _past_string(body, at))
    return at


def _past_string(body: bytes, at: int) -> int:
    size = _number(body, at)
    return at + 4 + size


def _number(body: bytes, at: int) -> int:
    if at + 4 > len(body):
        raise paramiko.SFTPError(f"an answer of {len(body)} bytes announces more")
    return int.from_bytes(body[at : at + 4], "big")
