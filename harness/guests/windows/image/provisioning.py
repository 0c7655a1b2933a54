"""The input of the provisioning in the guest: its program, `provision.json` and the files named there.

guest/provision/settings.py defines the schema; `provision.pyz --check` checks what is written here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ConfigurationError
from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.image.openssh import FOLDER as OPENSSH
from harness.guests.windows.spec.profile import (
    CONTROL_ADDRESS,
    CONTROL_MAC,
    CONTROL_PREFIX,
    JOURNAL_COM,
    KD_COM,
    KDNET_BUSPARAMS,
    KDNET_HOST,
    KDNET_PORT,
    WindowsProfile,
)
from harness.images.base import USER
from harness.toolchain.provision import build_provision, check_settings

SETTINGS = "provision.json"
PROGRAM = "provision.pyz"
TEST_CERTIFICATE = "test.cer"
OWN_FILE_LIMIT = 256 << 20
OWN_NAMES = ("winrm.pfx", "ssh_host_ed25519_key", "authorized_keys", "python.zip", "start.cmd")
RESERVED = {SETTINGS, PROGRAM, TEST_CERTIFICATE, OPENSSH, "configuration.cmd", *OWN_NAMES}
"""Names that the configuration ISO uses itself."""
DBGPRINT_MASK = 0xF
"""Error, warning, trace and info: DbgPrint and KdPrint are info, which Windows hides by default."""
SERVER_WITH_SSH = 26100
"""Build of Windows Server 2025, the first that includes OpenSSH's server."""


def program() -> bytes:
    """The provisioning as one zipapp; equal sources give equal bytes."""
    with tempfile.TemporaryDirectory(prefix="winvm-") as folder:
        return build_provision(Path(folder) / PROGRAM).read_bytes()


def ssh_source(profile: WindowsProfile, *, bundled: bool) -> str:
    """Where the guest gets OpenSSH's server from: `bundle`, `present`, or `capability` of Windows Update."""
    if bundled:
        return "bundle"
    brings = profile.install.kind != "Client" and profile.install.oldest_build >= SERVER_WITH_SSH
    return "present" if brings else "capability"


@dataclass(frozen=True)
class Driver:
    """What an image needs to know of the driver under test.

    Attributes:
        certificate: of its test signatures, PEM.
    """

    name: str
    certificate: bytes


def files(
    profile: WindowsProfile,
    secrets: WindowsSecrets,
    driver: Driver | None,
    *,
    bundled: bool,
    evaluation: bool = False,
) -> Mapping[str, bytes]:
    """Name -> content of `SETTINGS` and what lies beside it.

    Args:
        bundled: whether a folder with OpenSSH's server lies there too.
        evaluation: whether this Windows is one, which is activated.

    Raises:
        ConfigurationError: the profile wants Driver Verifier, and there is no driver; or the provisioning
            would refuse the settings.
    """
    if profile.provision.driver_verifier and driver is None:
        raise ConfigurationError(
            f"{profile.name} switches Driver Verifier on, but no driver is known.",
            remedy="Run it in the folder of a winvm.toml, or name one: winvm --config PATH image build ...",
        )
    keys = {
        secrets.pfx.name: secrets.pfx,
        secrets.private_host_key.name: secrets.private_host_key,
        "authorized_keys": secrets.public_client_key,
    }
    found = {name: path.read_bytes() for name, path in keys.items()}
    settings = _settings(profile, secrets, driver=driver, bundled=bundled)
    settings["activate"] = evaluation
    if profile.provision.files:
        own = own_files(profile)
        found |= own
        settings["own"] = {"files": sorted(own), "script": Path(profile.provision.script).name}
    found[SETTINGS] = json.dumps(settings, indent=1).encode("ascii")
    if driver:
        found[TEST_CERTIFICATE] = driver.certificate
    _check(found[SETTINGS])
    return found


def _settings(
    profile: WindowsProfile, secrets: WindowsSecrets, *, driver: Driver | None, bundled: bool
) -> dict[str, object]:
    provision = profile.provision
    source = ssh_source(profile, bundled=bundled)
    return {
        "version": 1,
        "profile": profile.name,
        "journal": f"COM{JOURNAL_COM}",
        "user": USER,
        "finish": "shut-down",
        "quiet": True,
        # Secure Boot protects both: Windows refuses to change them.
        "test_signing": None if profile.hardware.secure_boot else True,
        "memory_integrity": provision.memory_integrity,
        "certificates": [TEST_CERTIFICATE] if driver else [],
        "dbgprint_mask": DBGPRINT_MASK,
        "kernel_debugger": None if profile.hardware.secure_boot else _debugger(profile, secrets),
        "crash": {
            "dump": provision.dump,
            "auto_reboot": provision.auto_reboot,
            "dedicated_file_mib": provision.dump_file_mib,
        },
        "network": {
            "mac": CONTROL_MAC.replace(":", "-").upper(),
            "address": CONTROL_ADDRESS,
            "prefix": CONTROL_PREFIX,
        },
        "verifier": {"drivers": [f"{driver.name}.sys"] if driver and provision.driver_verifier else []},
        "winrm": {
            "certificate": secrets.pfx.name,
            "password": secrets.password,
            "thumbprint": secrets.thumbprint,
        },
        "ssh": {
            "install": source,
            **({"bundle": OPENSSH} if source == "bundle" else {}),
            "host_key": secrets.private_host_key.name,
            "authorized_keys": "authorized_keys",
        },
    }


def own_files(profile: WindowsProfile) -> dict[str, bytes]:
    """Name -> content of the files that the profile names.

    Raises:
        ConfigurationError: one cannot be read, is too large, or has the name of another.
    """
    found: dict[str, bytes] = {}
    for file in profile.provision.paths:
        try:
            if file.stat().st_size > OWN_FILE_LIMIT:
                raise ConfigurationError(
                    f"{file} is larger than {OWN_FILE_LIMIT >> 20} MiB.", remedy="Name a smaller file."
                )
            content = file.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"{file}, which [provision] of {profile.name} names, cannot be read: {error.strerror}.",
                remedy="Paths in provision.files begin in the folder that winvm is run in.",
            ) from error
        if file.name in found or file.name in RESERVED:
            raise ConfigurationError(
                f"[provision] of {profile.name} names two files {file.name}, or one of winvm's own.",
                remedy="Rename one of them.",
            )
        found[file.name] = content
    return found


def _debugger(profile: WindowsProfile, secrets: WindowsSecrets) -> dict[str, object]:
    if profile.hardware.kd == "serial":
        return {"transport": "serial", "port": KD_COM, "baud_rate": 115200}
    if profile.hardware.kd == "kdnet":
        return {
            "transport": "kdnet",
            "host_ip": KDNET_HOST,
            "port": KDNET_PORT,
            "key": secrets.kd_key.read_text(encoding="ascii").strip(),
            "bus_parameters": KDNET_BUSPARAMS,
        }
    return {"transport": "off"}


def _check(settings: bytes) -> None:
    """Has the guest's own reader check the settings: otherwise an error would show after an hour of Setup."""
    with tempfile.TemporaryDirectory(prefix="winvm-") as folder:  # mode 0700
        file = Path(folder) / SETTINGS
        file.write_bytes(settings)
        check_settings(build_provision(Path(folder) / PROGRAM), file)
