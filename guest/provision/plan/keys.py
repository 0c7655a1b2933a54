"""Registry keys that more than one part of the plan uses; below HKEY_LOCAL_MACHINE."""

from __future__ import annotations

SESSION_MANAGER = r"SYSTEM\CurrentControlSet\Control\Session Manager"
SERVICES = r"SYSTEM\CurrentControlSet\Services"
POLICIES = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System"
