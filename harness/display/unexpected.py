"""Exceptions outside the error tree, at the outermost boundary: faults of the host, and faults of the bench.

The user gets one paragraph in every case. A traceback helps only the bench's developers, so it goes to a
file.
"""

from __future__ import annotations

import errno
import tempfile
import traceback

from harness.errors import HostError, InternalError, WinvmError

_REMEDIES = {
    errno.ENOSPC: "Free disk space, or move the bench's folders: WINVM_HOME, [artifacts] folder and TMPDIR.",
    errno.EDQUOT: "Raise the quota, or move the bench's folders: WINVM_HOME, [artifacts] folder and TMPDIR.",
    errno.EROFS: "Set WINVM_HOME, [artifacts] folder and TMPDIR to folders that can be written.",
    errno.EACCES: "Run as the user whose files they are, or as root.",
    errno.EPERM: "Run as the user whose files they are, or as root.",
    errno.EMFILE: "Raise the limit of open files: ulimit -n",
    errno.ENFILE: "End programs that hold files open.",
    errno.ENOMEM: "Free memory.",
    errno.EIO: "Look at the host's kernel log; its storage fails.",
}
"""Remedies for errors that the host may give any program; other system errors are faults of the bench."""


def interrupted(error: BaseException | None) -> bool:
    """Whether `error` was raised while a `KeyboardInterrupt` was handled: then Ctrl-C ended the run."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def as_winvm_error(error: Exception) -> WinvmError:
    """The error to show for any exception: itself, the host's refusal, or an `InternalError`."""
    if isinstance(error, WinvmError):
        return error
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        where = f"{error.filename}: " if error.filename else ""
        return HostError(f"{where}{error.strerror}.", remedy=_REMEDIES[error.errno])
    return _internal(error)


def _internal(error: Exception) -> InternalError:
    said = f"internal error: {type(error).__name__}: {error}".rstrip(".: ")
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="winvm-error-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.writelines(traceback.format_exception(error))
    except OSError:
        return InternalError(
            f"{said}.", remedy="Please report it.", detail="".join(traceback.format_exception(error))
        )
    return InternalError(f"{said}.", remedy=f"Please report it with {file.name}.")
