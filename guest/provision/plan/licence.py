"""The licence: an evaluation is activated while the network is open, and its state is read back.

A Server evaluation that is not activated within ten days shuts itself down (Microsoft Evaluation Center). No
text is read: slmgr's is translated.
Sources: Microsoft Learn: Slmgr.vbs options, SoftwareLicensingProduct class.
"""

from __future__ import annotations

from provision.powershell import printed
from provision.settings import Settings
from provision.steps import Command, Retried, Setting, Step

WINDOWS = "55c92734-d682-4d71-983e-d6ec3f16059f"
"""ApplicationID of every Windows licence."""
LICENSED = 1  # LicenseStatus
TRIES, PAUSE_S, TIMEOUT_S = 2, 30.0, 300.0
_PRODUCT = (
    r"Get-CimInstance -Namespace root\cimv2 -ClassName SoftwareLicensingProduct"
    f" -Filter 'ApplicationID=''{WINDOWS}'' AND PartialProductKey IS NOT NULL'"
)


def steps(settings: Settings) -> list[Step]:
    """Empty unless the settings ask for it; wished: a guest works for days without it."""
    if not settings.activate:
        return []
    ato = Command(("cscript.exe", "//nologo", r"C:\Windows\System32\slmgr.vbs", "/ato"), timeout_s=TIMEOUT_S)
    status = Setting(
        "LicenseStatus",
        frozenset({str(LICENSED)}),
        printed(f"{_PRODUCT} | Select-Object -ExpandProperty LicenseStatus"),
        (Retried(ato, TRIES, PAUSE_S, (("0xc004", "Windows' licensing service refuses"),)),),
    )
    ends = f"{_PRODUCT} | Select-Object -ExpandProperty EvaluationEndDate | Get-Date -Format 'yyyy-MM-dd'"
    left = f"{_PRODUCT} | Select-Object -ExpandProperty GracePeriodRemaining"
    informs = (
        Setting("EvaluationEndDate", None, printed(ends)),
        Setting("GracePeriodRemaining", None, printed(left)),
    )
    return [Step("activation", (status, *informs), wished=True)]
