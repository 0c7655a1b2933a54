"""The manifest of a Windows image: what it was made from, what it holds, and what its self-check found."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness.guests.windows.image.installation import Report
from harness.guests.windows.image.media import Choice
from harness.guests.windows.image.preparation import Preparation
from harness.guests.windows.image.sealed import settings_digest

LICENSED = "1"
"""LicenseStatus of an activated Windows (Microsoft Learn: SoftwareLicensingProduct class)."""


def report_record(report: Report) -> dict[str, Any]:
    """What the stages keep of a provisioning's report."""
    checks = [
        {"step": check.step, "setting": check.setting, "state": check.state, "found": check.found}
        for check in report.checks
    ]
    warnings = [
        f"{check.step}: {check.setting} is {check.found or 'unreadable'}, not {check.wanted or 'nothing'}"
        for check in report.checks
        if check.state != "ok"
    ]
    return {"seconds": round(report.seconds), "checks": checks, "warnings": warnings}


def manifest(
    preparation: Preparation,
    digest: str,
    accelerator: str,
    installed: Mapping[str, Any],
    provisioned: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of manifest.json but for size and digest of the disk.

    Args:
        installed: see `record_of`. provisioned: see `report_record`.
    """
    profile, image = preparation.request.profile, preparation.choice.image
    licence = {one["setting"]: one["found"] for one in provisioned["checks"] if one["step"] == "activation"}
    return {
        "digest": digest,
        "profile": profile.name,
        "settings": settings_digest(profile),
        "edition": image.edition,
        "firmware": profile.hardware.firmware,
        "runs_out": _runs_out(preparation.choice, str(installed["installed"]), licence),
        "licence": licence,
        "versions": {
            "windows": f"10.0.{image.build}.{max(image.revision, 0)}",
            "edition": image.edition,
            "python": preparation.python.name.split("-")[2],
        },
        "iso": installed["iso"],
        "image": {**installed["image"], "file": installed["file"]},
        "openssh": preparation.ssh,
        "drivers": installed["drivers"],
        "accelerator": accelerator,
        "built": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": int(installed["seconds"]) + int(provisioned["seconds"]),
        "checks": provisioned["checks"],
        "warnings": provisioned["warnings"],
    }


def _runs_out(choice: Choice, installed: str, licence: Mapping[str, str]) -> str:
    """The last day of an evaluation, as ISO 8601 has it; empty if it is no evaluation.

    Args:
        installed: when Setup ended. licence: what Windows said; empty if it was not asked.
    """
    if not choice.evaluation:
        return ""
    began = datetime.datetime.fromisoformat(installed)
    with suppress(KeyError, ValueError):
        if licence["LicenseStatus"] == LICENSED:
            ends = datetime.date.fromisoformat(licence["EvaluationEndDate"])
            if ends > began.date():
                return ends.isoformat()
    with suppress(KeyError, ValueError, OverflowError):
        return (began + datetime.timedelta(minutes=int(licence["GracePeriodRemaining"]))).date().isoformat()
    return (began + datetime.timedelta(days=choice.certain_days)).date().isoformat()
