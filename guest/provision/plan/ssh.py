"""OpenSSH: the service, its host key, and who may log in.

Sources: Microsoft Learn: Get started with OpenSSH for Windows; Key-based authentication in OpenSSH for
Windows. sshd ignores key files that any account except SYSTEM and Administrators may read.
"""

from __future__ import annotations

from provision.plan.keys import SERVICES
from provision.plan.quiet import AUTOMATIC, service_start
from provision.powershell import powershell, printed
from provision.settings import Settings, Ssh
from provision.steps import (
    Action,
    Command,
    CopyFile,
    CopyFolder,
    Digest,
    Retried,
    Setting,
    Step,
    Value,
    no_file,
)
from provision.supplied import Supplied

PORT = 22
PROGRAM_FOLDER = r"C:\Program Files\OpenSSH"
DATA_FOLDER = r"C:\ProgramData\ssh"
HOST_KEY = "ssh_host_ed25519_key"
CAPABILITY = "OpenSSH.Server~~~~0.0.1.0"
DOWNLOAD_S = 500.0  # all tries take less than the half hour without progress after which the host gives up
DOWNLOADS, PAUSE_S = 3, 20.0
EXPLAINED = (
    ("0x800f0954", "Windows found no source: no network, or a policy that names an update server of its own"),
    ("0x80070422", "the update service, through which it is downloaded, is disabled"),
)
# By number: the groups' names are translated.
ADMINISTRATORS, SYSTEM = "*S-1-5-32-544", "*S-1-5-18"


def steps(settings: Settings, files: Supplied) -> list[Step]:
    """Empty when the settings have no `ssh`."""
    ssh = settings.ssh
    if ssh is None:
        return []
    host = _key_file(files, ssh.host_key, HOST_KEY)
    # The public key that sshd generated: older versions present it instead of the supplied key's public half.
    stale = no_file(rf"{DATA_FOLDER}\{HOST_KEY}.pub")
    users = _key_file(files, ssh.authorized_keys, "administrators_authorized_keys")
    return [
        Step("OpenSSH", (_installed(ssh, files),)),
        # The first start makes the data folder; the next, after the restart, takes the supplied host key.
        Step("OpenSSH service", (_service(),), restart=True),
        Step("OpenSSH keys", (*host, stale, *users), restart=True),
    ]


def _installed(ssh: Ssh, files: Supplied) -> Setting:
    install: dict[str, tuple[Action, ...]] = {
        "present": (),
        "capability": (
            Retried(
                powershell(f"Add-WindowsCapability -Online -Name {CAPABILITY} | Out-Null", DOWNLOAD_S),
                DOWNLOADS,
                PAUSE_S,
                EXPLAINED,
            ),
        ),
        "bundle": (
            CopyFolder(files.path(ssh.bundle), PROGRAM_FOLDER),
            powershell(rf"& '{PROGRAM_FOLDER}\install-sshd.ps1' -Confirm:$false | Out-Null"),
        ),
    }
    reading = Value(rf"{SERVICES}\sshd", "ImagePath", find=r"sshd\.exe")
    return Setting("sshd", frozenset({"sshd.exe"}), reading, install[ssh.install])


def _service() -> Setting:
    start = service_start("sshd", "auto", AUTOMATIC)
    return Setting(
        start.name, start.wanted, start.reading, (*start.actions, powershell("Start-Service -Name sshd"))
    )


def _key_file(files: Supplied, name: str, target: str) -> tuple[Setting, Setting]:
    """The file's content, and its ACL: owner Administrators, access for two groups, nothing inherited."""
    path = rf"{DATA_FOLDER}\{target}"
    content = Setting(
        target, frozenset({files.sha256(name)}), Digest(path), (CopyFile(files.path(name), path),)
    )
    access = Setting(
        f"access to {target}",
        frozenset({"o:ba", "d:p", "(a;;fa;;;sy)", "(a;;fa;;;ba)"}),
        printed(f"Get-Acl -Path '{path}' | Select-Object -ExpandProperty Sddl", r"O:BA|D:P|\([^)]*\)"),
        (
            Command(("icacls.exe", path, "/setowner", ADMINISTRATORS)),
            Command(("icacls.exe", path, "/inheritance:r", "/grant", f"{ADMINISTRATORS}:F", f"{SYSTEM}:F")),
        ),
    )
    return content, access
