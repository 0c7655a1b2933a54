"""`WindowsMachine`: implements `provision.machine.Machine` on Windows and on Wine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from provision.machine import Completed, Kind, ProvisionError, RegistryData

if sys.platform == "win32":
    import winreg

assert sys.platform == "win32"

ROOT = winreg.HKEY_LOCAL_MACHINE
VIEW = winreg.KEY_WOW64_64KEY
PENDING = r"SOFTWARE\winvm\RestartPending"
# winnt.h, ntddk.h, Microsoft Learn: NtQuerySystemInformation
REG_OPTION_VOLATILE = 1
SYSTEM_CODE_INTEGRITY_INFORMATION = 103


class WindowsMachine:
    """Implements `provision.machine.Machine`."""

    def value(self, key: str, name: str) -> RegistryData | None:
        """See the protocol."""
        try:
            with winreg.OpenKey(ROOT, key, access=winreg.KEY_READ | VIEW) as opened:
                data, kind = winreg.QueryValueEx(opened, name)
        except OSError:
            return None
        if kind not in set(Kind):
            return None
        return RegistryData(Kind(kind), tuple(data) if kind == Kind.MULTI_SZ else data)

    def set_value(self, key: str, name: str, data: RegistryData) -> None:
        """See the protocol."""
        content = list(data.data) if isinstance(data.data, tuple) else data.data
        try:
            with winreg.CreateKeyEx(ROOT, key, access=winreg.KEY_WRITE | VIEW) as opened:
                winreg.SetValueEx(opened, name, 0, data.kind, content)
        except OSError as error:
            raise ProvisionError(
                f"the registry value {key}\\{name} cannot be set: {error.strerror}"
            ) from error

    def delete_value(self, key: str, name: str) -> None:
        """See the protocol."""
        try:
            with winreg.OpenKey(ROOT, key, access=winreg.KEY_WRITE | VIEW) as opened:
                winreg.DeleteValue(opened, name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ProvisionError(
                f"the registry value {key}\\{name} cannot be deleted: {error.strerror}"
            ) from error

    @property
    def restart_pending(self) -> bool:
        """See the protocol."""
        try:
            winreg.OpenKey(ROOT, PENDING, access=winreg.KEY_READ | VIEW).Close()
        except OSError:
            return False
        return True

    def note_restart(self) -> None:
        """Creates a volatile key, which Windows drops when it restarts. `winreg` cannot create one."""
        create = ctypes.WinDLL("advapi32").RegCreateKeyExW
        create.argtypes = (
            ctypes.c_void_p,  # key
            ctypes.c_wchar_p,  # subkey
            ctypes.c_uint32,  # reserved
            ctypes.c_wchar_p,  # class
            ctypes.c_uint32,  # options
            ctypes.c_uint32,  # access
            ctypes.c_void_p,  # security
            ctypes.POINTER(ctypes.c_void_p),  # result
            ctypes.c_void_p,  # disposition
        )
        handle = ctypes.c_void_p()
        access = winreg.KEY_WRITE | VIEW
        error = create(ROOT, PENDING, 0, None, REG_OPTION_VOLATILE, access, None, ctypes.byref(handle), None)
        if error:
            raise ProvisionError(f"the registry key {PENDING} cannot be created: {ctypes.FormatError(error)}")
        winreg.CloseKey(handle.value or 0)

    def run(self, argv: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> Completed:
        """Runs a program; decodes its output with the console's code page."""
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                env={**os.environ, **environment},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProvisionError(f"{argv[0]} did not end within {timeout_s:g} s") from error
        except OSError as error:
            raise ProvisionError(f"{argv[0]} cannot be started: {error.strerror}") from error
        stdout, stderr = (text.decode("oem", "replace") for text in (done.stdout, done.stderr))
        return Completed(done.returncode & 0xFFFFFFFF, stdout, stderr)

    def read_file(self, path: str) -> bytes | None:
        """See the protocol."""
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ProvisionError(f"{path} cannot be read: {error.strerror}") from error

    def write_file(self, path: str, content: bytes) -> None:
        """See the protocol."""
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)
        except OSError as error:
            raise ProvisionError(f"{path} cannot be written: {error.strerror}") from error

    def remove_file(self, path: str) -> None:
        """See the protocol."""
        try:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
        except OSError as error:
            raise ProvisionError(f"{path} cannot be removed: {error.strerror}") from error

    def copy_folder(self, source: str, target: str) -> None:
        """See the protocol."""
        try:
            shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        except (OSError, shutil.Error) as error:
            raise ProvisionError(f"{source} cannot be copied to {target}: {error}") from error

    def code_integrity(self) -> int:
        """See the protocol."""
        information = (ctypes.c_uint32 * 2)(8, 0)  # SYSTEM_CODEINTEGRITY_INFORMATION: length, options
        query = ctypes.WinDLL("ntdll").NtQuerySystemInformation
        status = query(SYSTEM_CODE_INTEGRITY_INFORMATION, information, ctypes.sizeof(information), None)
        if status < 0:
            raise ProvisionError(f"NtQuerySystemInformation failed with status {status & 0xFFFFFFFF:#010x}")
        return information[1]

    def monotonic(self) -> float:
        """See the protocol."""
        return time.monotonic()

    def pause(self, seconds: float) -> None:
        """See the protocol."""
        time.sleep(seconds)
