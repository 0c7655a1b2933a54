"""A process that builds a Windows image from an ISO without a Windows.

`python -m tests.vm.windows_installing [ISO]` prints the image as JSON, or the error with its remedy and
detail.
The profile is windows-10's on a small BIOS machine; install_payload.S stands on the ISO in place of Setup.
libvirt's driver allows one root a process, so this is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from harness.errors import WinvmError
from harness.guests.windows.image.build import build
from harness.guests.windows.image.preparation import Request
from harness.guests.windows.image.provisioning import Driver
from harness.guests.windows.spec.profile import WindowsProfile
from harness.journal import Event, Journal
from harness.project import config
from tests.fakes.profiles import windows_profile

DRIVER = Driver("mydriver", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def small(stall: float) -> WindowsProfile:
    """A profile whose machine can run the boot sector."""
    profile = windows_profile("windows-10")
    hardware = profile.hardware.model_copy(update={"firmware": "bios", "memory_mib": 256, "vcpus": 1})
    install = profile.install.model_copy(update={"stall": stall, "deadline": 300.0})
    return profile.model_copy(update={"hardware": hardware, "install": install})


def main(arguments: list[str]) -> int:
    """Builds; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("iso", type=Path, nargs="?")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--dump", default="kernel", help="a setting of the provisioning that may differ")
    parser.add_argument("--stall", type=float, default=120.0)
    options = parser.parse_args(arguments)
    steps: list[str] = []

    def listen(event: Event) -> None:
        if event["event"] == "start":
            steps.append(str(event["step"]))
            print(event["step"], file=sys.stderr, flush=True)

    journal = Journal()
    journal.listen(listen)
    try:
        profile = small(options.stall)
        provision = profile.provision.model_copy(update={"dump": options.dump})
        request = Request(
            profile.model_copy(update={"provision": provision}),
            options.iso,
            driver=DRIVER,
            resume=options.resume,
            keep=options.keep,
        )
        image = build(request, config.home(), journal)
    except WinvmError as error:
        said = {"error": error.message, "remedy": error.remedy, "detail": error.detail}
        print(json.dumps(said))
        return error.exit_code
    print(json.dumps({"folder": str(image.folder), "steps": steps}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
