"""The control adapter: an address that no restore can take away, and a network that stays private.

QEMU's user network leases 10.0.2.15 for a day. A guest that is restored after a week and is given the
present time would hold an expired lease, so the address is set. The network has no gateway while a guest
runs: Windows calls it unidentified, and public, at each start unless a policy says private.
Source: Microsoft Learn: Network List Manager policies, New-NetIPAddress, Set-NetIPInterface.
"""

from __future__ import annotations

from provision.powershell import powershell, printed
from provision.settings import Network, Settings
from provision.steps import Setting, Step, dword

UNIDENTIFIED = (
    r"SOFTWARE\Policies\Microsoft\Windows NT\CurrentVersion\NetworkList\Signatures"
    r"\010103000F0000F0010000000F0000F0C967A3643C3AD745950DA7859209176EF5B87C875FA20DF21951640E807D7C24"
)
"""The policy "Unidentified Networks"; the name is the same in every Windows."""
PRIVATE = 1


def steps(settings: Settings) -> list[Step]:
    """What other steps may rely on."""
    return [Step("network category", (dword(UNIDENTIFIED, "Category", PRIVATE),))] if settings.network else []


def closing_steps(settings: Settings) -> list[Step]:
    """The address; after everything that downloads, since it has no gateway."""
    network = settings.network
    return [Step("network address", _address(network))] if network else []


def _address(network: Network) -> tuple[Setting, ...]:
    adapter = f"Get-NetAdapter | Where-Object MacAddress -EQ '{network.mac}'"
    addresses = f"{adapter} | Get-NetIPAddress -AddressFamily IPv4"
    new = f"New-NetIPAddress -IPAddress '{network.address}' -PrefixLength {network.prefix}"
    change = (
        f"{adapter} | Set-NetIPInterface -AddressFamily IPv4 -Dhcp Disabled; "
        f"{addresses} -ErrorAction SilentlyContinue | Remove-NetIPAddress -Confirm:$false; "
        f"{adapter} | {new} | Out-Null"
    )
    return tuple(
        Setting(
            f"control adapter's {name}",
            frozenset({value}),
            printed(f"{addresses} | Select-Object -ExpandProperty {name}"),
            (powershell(change),),
        )
        for name, value in (("PrefixOrigin", "manual"), ("IPAddress", network.address))
    )
