"""The key of a KDNET connection: `w.x.y.z`, four numbers in base 36, as bcdedit prints it."""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ConfigurationError
from harness.host.regular import open_regular

_PART = re.compile(r"[0-9a-zA-Z]{1,13}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
KEY_FILE_LIMIT = 1024


@dataclass(frozen=True)
class Key:
    """The 32 bytes both sides know: they encrypt the control channel and authenticate every datagram."""

    control: bytes = field(repr=False)

    @property
    def mac(self) -> bytes:
        """The HMAC key: every byte of the control key inverted."""
        return bytes(byte ^ 0xFF for byte in self.control)

    @property
    def text(self) -> str:
        """The key in the form `w.x.y.z` that bcdedit takes."""
        parts = (self.control[at : at + 8] for at in range(0, 32, 8))
        return ".".join(_base36(int.from_bytes(part, "little")) for part in parts)

    @classmethod
    def parse(cls, text: str) -> Key:
        """The key that `text` stands for.

        Raises:
            ConfigurationError: it is not four base-36 numbers below 2^64. The message does not repeat the
                text.
        """
        parts = text.strip().split(".")
        if len(parts) != 4 or not all(_PART.fullmatch(part) for part in parts):
            raise ConfigurationError("The key is not of the form w.x.y.z.", remedy=_REMEDY)
        values = [int(part, 36) for part in parts]
        if any(value >> 64 for value in values):
            raise ConfigurationError("A part of the key is 2^64 or more.", remedy=_REMEDY)
        return cls(b"".join(value.to_bytes(8, "little") for value in values))

    @classmethod
    def read(cls, path: Path) -> Key:
        """Reads the key from a file.

        Raises:
            ConfigurationError: the file cannot be read or holds no key.
        """
        try:
            with open_regular(path) as file:
                text = file.read(KEY_FILE_LIMIT).decode("ascii", "replace")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
        return cls.parse(text)

    @classmethod
    def generate(cls) -> Key:
        """A key of 256 random bits."""
        return cls(secrets.token_bytes(32))

    def write(self, path: Path) -> None:
        """Writes the key to a new file which only its owner may read.

        Raises:
            ConfigurationError: the file exists or cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from error
        with os.fdopen(descriptor, "w") as file:
            file.write(self.text + "\n")


_REMEDY = "Use the key that `winvm kd key` or bcdedit printed, such as 1a2b.zz.10.3w5e."


def _base36(value: int) -> str:
    digits = ""
    while True:
        value, digit = divmod(value, 36)
        digits = _DIGITS[digit] + digits
        if not value:
            return digits
