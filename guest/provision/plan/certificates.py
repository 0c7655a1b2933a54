"""Test certificates, in both machine stores: otherwise Windows asks before it installs a test-signed driver.

Sources: Microsoft Learn: Installing a test certificate on a test computer; certutil.
"""

from __future__ import annotations

from provision.settings import Settings
from provision.steps import Command, Output, Setting, Step
from provision.supplied import Supplied

STORES = ("Root", "TrustedPublisher")
NTE_NOT_FOUND = 0x80090011  # certutil's exit code where the store holds no such certificate


def steps(settings: Settings, files: Supplied) -> list[Step]:
    """One step for all of them."""
    wanted = tuple(_installed(files, name, store) for name in settings.certificates for store in STORES)
    return [Step("test certificates", wanted)] if wanted else []


def _installed(files: Supplied, name: str, store: str) -> Setting:
    thumbprint = files.thumbprint(name)
    # certutil prints the digits in pairs with blanks between, or without, depending on its age.
    pairs = " ?".join(thumbprint[start : start + 2] for start in range(0, len(thumbprint), 2))
    query = Command(("certutil.exe", "-store", store, thumbprint), ok=(0, NTE_NOT_FOUND))
    add = Command(("certutil.exe", "-addstore", "-f", store, files.path(name)))
    return Setting(f"{name} in {store}", frozenset({thumbprint}), Output(query, pairs), (add,))
