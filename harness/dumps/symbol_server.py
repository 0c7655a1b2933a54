"""Downloads from an HTTP symbol server, `ADDRESS/NAME/KEY/NAME`, into a store; remembers misses for a day.

Every size and wait is bounded. The same object does not use a server again that did not answer.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from harness.display.terminal import printable

if TYPE_CHECKING:
    import requests

MAX_SIZE = 1 << 30
DEADLINE_S = 120.0
REMEMBERED_S = 24 * 3600.0
_WAIT_S = (5.0, 15.0)  # for the connection, and for each piece of the answer
_PIECE = 1 << 20
_REDIRECTS = 5
_ABSENT = ".absent"
_MISSING = (403, 404, 410)
MAX_REASON = 160
"""Characters of an error that quotes a server."""


class SymbolServer:
    """Fetches files from one server.

    Args:
        address: the server's root URL, http or https.
        warnings: gains a line when the server cannot be used.
    """

    def __init__(self, address: str, warnings: list[str], *, max_size: int = MAX_SIZE) -> None:
        self._address = address.rstrip("/")
        self._warnings = warnings
        self._max_size = max_size
        self._session: requests.Session | None = None
        self._usable = True

    def fetch(self, name: str, key: str, store: Path) -> Path | None:
        """Path of the file in `store`; None when the server lacks the file or cannot be used.

        Args:
            name: without separators.
            key: the folder after the name in a store's layout.
        """
        place = store / name / key / name
        absent = place.with_name(name + _ABSENT)
        if not self._usable or _is_recent(absent):
            return None
        try:
            return self._download(f"{self._address}/{quote(name)}/{quote(key)}/{quote(name)}", place, absent)
        except (OSError, ValueError) as error:  # requests raises OSErrors, a bad redirect ValueError
            self._usable = False
            self._warnings.append(f"The symbol server {self._address} cannot be used: {_reason(error)}.")
            return None

    def _download(self, url: str, place: Path, absent: Path) -> Path | None:
        until = time.monotonic() + DEADLINE_S
        place.parent.mkdir(parents=True, exist_ok=True)
        with self._opened().get(url, stream=True, timeout=_WAIT_S) as answer:
            if answer.status_code in _MISSING:
                absent.touch()
                return None
            if answer.status_code != 200:
                raise OSError(f"it answered HTTP status {answer.status_code}")
            with tempfile.TemporaryDirectory(dir=place.parent) as folder:
                part = Path(folder, "part")
                with part.open("wb") as file:
                    self._copy(answer, file, until)
                part.replace(place)
        absent.unlink(missing_ok=True)
        return place

    def _copy(self, answer: requests.Response, file: IO[bytes], until: float) -> None:
        size = 0
        for piece in answer.iter_content(_PIECE):
            size += len(piece)
            if size > self._max_size:
                raise OSError(f"its answer is larger than {self._max_size} bytes")
            if time.monotonic() > until:
                raise OSError(f"its answer took longer than {DEADLINE_S:g} s")
            file.write(piece)

    def _opened(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.max_redirects = _REDIRECTS
            self._session.trust_env = False  # no password from the user's .netrc
            self._session.headers["User-Agent"] = "Microsoft-Symbol-Server/10.0.0.0"
        return self._session


def _is_recent(mark: Path) -> bool:
    try:
        return time.time() - mark.stat().st_mtime < REMEMBERED_S
    except OSError:
        return False


def _reason(error: Exception) -> str:
    """Why it failed, on one line; what the server sent may be part of it, and is escaped and cut."""
    text = printable(" ".join(str(error).split())[:MAX_REASON]).rstrip(".")
    return text or type(error).__name__
