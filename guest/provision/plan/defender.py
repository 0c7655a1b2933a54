"""Microsoft Defender leaves the bench's folders alone and scans at no set time.

By policy, which tamper protection does not revert and which a Windows without Defender ignores. The scanner
would open a driver while it is copied, and a scheduled scan slows whatever runs at that time.
Source: Microsoft Learn: Policy CSP, ADMX_MicrosoftDefenderAntivirus.
"""

from __future__ import annotations

from provision.machine import Kind
from provision.settings import Settings
from provision.steps import Step, dword, registry_value

POLICY = r"SOFTWARE\Policies\Microsoft\Windows Defender"
FOLDERS = (r"C:\winvm", r"C:\Python")
NEVER = 8  # ScheduleDay


def steps(settings: Settings) -> list[Step]:
    """Empty unless the guest is to be quiet."""
    if not settings.quiet:
        return []
    excluded = [registry_value(rf"{POLICY}\Exclusions\Paths", folder, Kind.SZ, "0") for folder in FOLDERS]
    whole = (
        dword(rf"{POLICY}\Exclusions", "Exclusions_Paths", 1),
        *excluded,
        dword(rf"{POLICY}\Scan", "ScheduleDay", NEVER),
    )
    return [Step("Defender", whole, wished=True)]
