"""The only error tree of the host side.

    WinvmError                   every error the bench raises on purpose; carries a remedy and an exit code
    ├── ConfigurationError  (2)  what the user wrote or asked for cannot be used
    │   ├── ContractError        driver, generated code and agent disagree about the IOCTL contract
    │   ├── ScenarioError        a scenario file cannot be collected
    │   ├── DumpError            a crash dump cannot be read at all
    │   └── BundleError          a crash bundle is damaged, or holds something that a bundle may not hold
    ├── BuildError          (2)  the driver does not compile, link, sign or pass its static checks
    ├── InfrastructureError (3)  host, libvirt, image or transport failed; the driver is not to blame
    │   ├── HostError            a tool is missing, too old or broken; no disk space; port taken
    │   ├── ImageError           a guest image cannot be built, or is damaged
    │   ├── MachineError         libvirt or QEMU refused or lost the domain
    │   ├── BootError            the guest did not become ready; carries the console tail
    │   ├── TransportError       WinRM or SFTP failed
    │   │   └── AuthenticationError   certificate, host key or password refused
    │ ├── AgentError the agent ended, or sent something that is not its protocol
    │   ├── KdError              the kernel-debugger connection or a capture of it cannot be used
    │   ├── DeadlineError        an operation did not finish in time
    │   └── InternalError        a fault of the bench itself; its traceback is in a file
    └── DriverLoadError     (1)  the service control manager would not start the driver
        └── DriverCrashError (4) the driver crashed, or never returned, while it was loaded or unloaded

A scenario that fails and a guest that crashes are outcomes (`harness.outcome`), not errors.
Exit codes: 0 passed, 1 a scenario failed, 2 configuration, 3 infrastructure, 4 guest crashed unexpectedly.
"""

from __future__ import annotations

from typing import ClassVar

BUILD_AGAIN = "Remove the image's folder and run: winvm image build NAME, with the name of its profile."
"""The remedy for an image that is damaged or incomplete."""


class WinvmError(Exception):
    """What failed, with what value, and what to do about it.

    Args:
        message: one sentence naming the thing that failed and the value involved.
        remedy: what the user does next, in the imperative; empty when there is nothing to do.
        detail: longer evidence (compiler output, console tail), shown below the message.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ConfigurationError(WinvmError):
    """What the user wrote or asked for cannot be used."""

    exit_code = 2


class ContractError(ConfigurationError):
    """Driver, generated code and agent disagree about the IOCTL contract."""


class ScenarioError(ConfigurationError):
    """A scenario file cannot be collected."""


class DumpError(ConfigurationError):
    """A crash dump cannot be read at all; one that is merely damaged gives a report with warnings."""


class BundleError(ConfigurationError):
    """A crash bundle is damaged, or holds something that a bundle may not hold."""


class BuildError(WinvmError):
    """The driver does not compile, link, sign or pass its static checks."""

    exit_code = 2


class InfrastructureError(WinvmError):
    """Host, libvirt, image or transport failed; the driver is not to blame."""

    exit_code = 3


class HostError(InfrastructureError):
    """A host tool is missing, too old or broken; no disk space; port taken."""


class ImageError(InfrastructureError):
    """A guest image cannot be built, or is damaged."""


class MachineError(InfrastructureError):
    """Libvirt or QEMU refused or lost the domain."""


class BootError(InfrastructureError):
    """The guest did not become ready; `detail` holds the console tail."""


class BootCrashError(BootError):
    """The guest's kernel reported a bugcheck before the guest was ready."""


class TransportError(InfrastructureError):
    """WinRM or SFTP failed."""


class AuthenticationError(TransportError):
    """Certificate, host key or password refused."""


class AgentError(InfrastructureError):
    """The agent ended, or sent something that is not its protocol."""


class KdError(InfrastructureError):
    """The kernel-debugger connection, or a capture of it, cannot be used."""


class DeadlineError(InfrastructureError):
    """An operation did not finish before its deadline."""


class InternalError(InfrastructureError):
    """A fault of the bench itself; the remedy names the file that holds its traceback."""


class DriverLoadError(WinvmError):
    """The service control manager would not start the driver."""

    exit_code = 1


class DriverCrashError(DriverLoadError):
    """The driver crashed, or never returned, while it was loaded or unloaded."""

    exit_code = 4
