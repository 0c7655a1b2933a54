"""The cmdlets: WinRM, certificates, network, accounts, services; refusals as Microsoft Learn has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID
from provision.machine import Kind, RegistryData

from tests.fakes.windows_tools_powershell import Cmdlet, Item, Parameters, PowerShellError

if TYPE_CHECKING:
    from tests.fakes.windows_tools import FakeWindows

WSMAN = "wsman:\\localhost\\"
MY = r"Cert:\LocalMachine\My"
SERVICES = r"SYSTEM\CurrentControlSet\Services"
DEVICE_GUARD = r"SYSTEM\CurrentControlSet\Control\DeviceGuard"
# What CertificateThumbPrint's listener serves; the port follows from the transport.
PORTS = {"HTTP": "5985", "HTTPS": "5986"}


def start_service(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    name = given["name"].lower()
    if name not in machine.services:
        raise PowerShellError(f"Cannot find any service with service name '{name}'.")
    if name not in machine.running_services:
        machine.warnings.append(f"Waiting for service '{name}' to start...")
    machine.started(name)
    return []


def select_object(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    name = given["expandproperty"]
    for item in items:
        if name not in item:
            raise PowerShellError(f'Select-Object: Property "{name}" cannot be found.')
    return [item[name] for item in items]


def where_object(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    wanted = str(given["eq"]).lower()
    return [item for item in items if str(item.get(given["property"])).lower() == wanted]


def out_null(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    return []


def connection_profiles(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    return [{"InterfaceAlias": alias, "NetworkCategory": kind} for alias, kind in machine.networks.items()]


def set_connection_profile(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given["networkcategory"] not in ("Private", "Public"):
        raise PowerShellError("Set-NetConnectionProfile: Cannot validate argument on 'NetworkCategory'.")
    for item in items:
        machine.changed()
        machine.networks[item["InterfaceAlias"]] = given["networkcategory"]
    return []


def secure_string(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if not given.get("string") or "asplaintext" not in given:
        raise PowerShellError("ConvertTo-SecureString: Input string was not in a correct format.")
    return [{"secure": given["string"]}]


def import_pfx(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    content = machine.files.get(given["filepath"].lower())
    if content is None:
        raise PowerShellError("Import-PfxCertificate: The PFX file could not be found.")
    if given["certstorelocation"] != MY or not isinstance(given.get("password"), dict):
        raise PowerShellError("Import-PfxCertificate: Cannot bind parameter.")
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(content, given["password"]["secure"].encode())
    except ValueError:
        raise PowerShellError("The PFX file requires either a different password or ...") from None
    if key is None or certificate is None:
        raise PowerShellError("Import-PfxCertificate: no certificate with its key.")
    machine.changed()
    thumbprint = certificate.fingerprint(SHA1()).hex().upper()
    machine.personal[thumbprint] = certificate
    return [{"Thumbprint": thumbprint}]


def child_items(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given["path"] != MY:
        raise PowerShellError(f"Get-ChildItem: Cannot find path '{given['path']}'.")
    return [{"Thumbprint": thumbprint, "HasPrivateKey": True} for thumbprint in machine.personal]


def listeners(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    _needs_winrm(machine)
    if given["resourceuri"] != "winrm/config/listener" or "enumerate" not in given:
        raise PowerShellError("Get-WSManInstance: The WS-Management service cannot process the request.")
    return [
        {"Transport": transport, "Port": PORTS[transport], "CertificateThumbprint": thumbprint}
        for transport, thumbprint in machine.listeners.items()
    ]


def new_item(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    _needs_winrm(machine)
    transport, thumbprint = given["transport"], given.get("certificatethumbprint", "")
    if given["path"] != r"WSMan:\localhost\Listener" or transport not in PORTS or given["address"] != "*":
        raise PowerShellError("New-Item: Cannot find path.")
    _needs_private_networks(machine)
    if transport in machine.listeners:
        raise PowerShellError("A listener already exists on this IP address and transport.")
    certificate = machine.personal.get(thumbprint)
    if transport == "HTTPS" and (certificate is None or not _is_for_servers(certificate)):
        raise PowerShellError("Cannot create a WinRM listener on HTTPS: no appropriate certificate.")
    machine.changed()
    machine.listeners[transport] = thumbprint
    return [{"Keys": [f"Transport={transport}"]}]


def remove_item(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    _needs_winrm(machine)
    if given["path"].lower() != WSMAN + r"listener\*" or "recurse" not in given:
        raise PowerShellError(f"Remove-Item: Cannot remove '{given['path']}'.")
    machine.changed()
    machine.listeners.clear()
    return []


def get_item(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    _needs_winrm(machine)
    return [{"Value": machine.wsman[_wsman_path(machine, given)]}]


def set_item(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    """WSMan values are strings: `true`, `false`, or digits. A public network refuses every change."""
    _needs_winrm(machine)
    path, value = _wsman_path(machine, given), given["value"]
    _needs_private_networks(machine)
    boolean = machine.wsman[path] in ("true", "false")
    if boolean != isinstance(value, bool):
        raise PowerShellError("Set-Item: The value supplied is not of the type that the setting has.")
    machine.changed()
    machine.wsman[path] = str(value).lower()
    return []


def firewall_rules(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    return [_rule(machine, given["name"])]


def remove_rule(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    _rule(machine, given["name"])
    machine.changed()
    del machine.rules[given["name"]]
    return []


def new_rule(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given["name"] in machine.rules:
        raise PowerShellError("New-NetFirewallRule: Cannot create a file when that file already exists.")
    rule = {name: given[name] for name in ("direction", "action", "protocol", "localport", "profile")}
    machine.changed()
    machine.rules[given["name"]] = rule
    return [rule]


def port_filter(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    return [{"Protocol": rule["protocol"], "LocalPort": rule["localport"]} for rule in items]


def local_user(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given["name"] not in machine.expiry:
        raise PowerShellError(f"User {given['name']} was not found.")
    return [{"Name": given["name"], "PasswordExpires": machine.expiry[given["name"]]}]


def set_local_user(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    local_user(machine, given, items)
    if not isinstance(given["passwordneverexpires"], bool):
        raise PowerShellError("Set-LocalUser: Cannot convert value to type System.Boolean.")
    machine.changed()
    machine.expiry[given["name"]] = None if given["passwordneverexpires"] else "01/02/2027 07:00:00"
    return []


def cim_instance(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given["classname"] == "SoftwareLicensingProduct":
        wanted = "ApplicationID='55c92734-d682-4d71-983e-d6ec3f16059f' AND PartialProductKey IS NOT NULL"
        if given.get("filter") != wanted:
            raise PowerShellError("Get-CimInstance: Invalid query")
        return [dict(machine.licence)]
    if (given["namespace"], given["classname"]) != (
        r"root\Microsoft\Windows\DeviceGuard",
        "Win32_DeviceGuard",
    ):
        raise PowerShellError("Get-CimInstance: Invalid class.")
    return [{"VirtualizationBasedSecurityStatus": machine.running_vbs}]


def get_date(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given.get("format") != "yyyy-MM-dd":
        raise PowerShellError("Get-Date: only this format is untranslated.")
    return [item[:10] for item in items]


def get_acl(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    path = given["path"].lower()
    if path not in machine.files:
        raise PowerShellError(f"Get-Acl: Cannot find path '{path}' because it does not exist.")
    owner, rights = machine.access.get(path, machine.inherited_access)
    return [{"Sddl": f"O:{owner}G:DUD:{rights}"}]


def adapters(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    return [{"MacAddress": mac, "InterfaceAlias": "Ethernet"} for mac in machine.addresses]


def set_ip_interface(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    """Without DHCP, the address that it gave is gone."""
    if given["dhcp"] != "Disabled" or given["addressfamily"] != "IPv4" or not items:
        raise PowerShellError("Set-NetIPInterface: Cannot validate argument on parameter 'Dhcp'.")
    for item in items:
        machine.changed()
        machine.leases.discard(item["MacAddress"])
        if machine.addresses[item["MacAddress"]][1] == "Dhcp":
            machine.addresses[item["MacAddress"]] = ("", "")
    return []


def ip_addresses(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    found = []
    for item in items:
        address, origin = machine.addresses[item["MacAddress"]]
        found += [{**item, "IPAddress": address, "PrefixOrigin": origin}] if address else []
    if not found:
        raise PowerShellError("Get-NetIPAddress: No matching MSFT_NetIPAddress objects found.")
    return found


def remove_ip_address(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if given.get("confirm") is not False and items:
        raise PowerShellError("Windows PowerShell is in NonInteractive mode. Read and Prompt ...")
    for item in items:
        machine.changed()
        machine.addresses[item["MacAddress"]] = ("", "")
    return []


def new_ip_address(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if len(items) != 1 or not isinstance(given["prefixlength"], int):
        raise PowerShellError("New-NetIPAddress: Invalid parameter InterfaceAlias.")
    mac = items[0]["MacAddress"]
    if machine.addresses[mac][0] == given["ipaddress"]:
        raise PowerShellError("New-NetIPAddress: Instance MSFT_NetIPAddress already exists.")
    machine.changed()
    machine.addresses[mac] = (given["ipaddress"], "Manual")
    return [{"IPAddress": given["ipaddress"]}]


def add_capability(machine: FakeWindows, given: Parameters, items: list[Item]) -> list[Item]:
    if "online" not in given or given["name"] != "OpenSSH.Server~~~~0.0.1.0":
        raise PowerShellError("Add-WindowsCapability: The capability name is unknown.")
    if machine.value(rf"{SERVICES}\wuauserv", "Start") == RegistryData(Kind.DWORD, 4):
        raise PowerShellError("Add-WindowsCapability failed. Error code = 0x80070422")
    if not machine.internet:
        raise PowerShellError("Add-WindowsCapability failed. Error code = 0x800f0954")
    machine.install_sshd()
    return [{"RestartNeeded": False}]


def _needs_winrm(machine: FakeWindows) -> None:
    if "winrm" not in machine.running_services:
        raise PowerShellError(
            "The client cannot connect to the destination: the WinRM service is not running."
        )


def _needs_private_networks(machine: FakeWindows) -> None:
    if "Public" in machine.networks.values():
        raise PowerShellError("WinRM firewall exception will not work: a network connection type is Public.")


def _wsman_path(machine: FakeWindows, given: Parameters) -> str:
    path = str(given["path"]).lower().removeprefix(WSMAN)
    if path not in machine.wsman:
        raise PowerShellError(f"Cannot find path '{given['path']}' because it does not exist.")
    return path


def _rule(machine: FakeWindows, name: str) -> Item:
    if name not in machine.rules:
        raise PowerShellError(
            f"No MSFT_NetFirewallRule objects found with property 'InstanceID' equal to '{name}'."
        )
    return machine.rules[name]


def _is_for_servers(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in usage


FIREWALL = ("Name", "DisplayName", "Direction", "Action", "Protocol", "LocalPort", "Profile")
CMDLETS: Mapping[str, Cmdlet] = {
    "start-service": Cmdlet(start_service, ("Name",)),
    "select-object": Cmdlet(select_object, ("ExpandProperty",)),
    "where-object": Cmdlet(where_object, ("EQ",), position="property"),
    "out-null": Cmdlet(out_null),
    "get-netconnectionprofile": Cmdlet(connection_profiles),
    "set-netconnectionprofile": Cmdlet(set_connection_profile, ("NetworkCategory",)),
    "convertto-securestring": Cmdlet(secure_string, ("String",), ("AsPlainText", "Force")),
    "import-pfxcertificate": Cmdlet(import_pfx, ("FilePath", "CertStoreLocation", "Password")),
    "get-childitem": Cmdlet(child_items, ("Path",)),
    "get-wsmaninstance": Cmdlet(listeners, ("ResourceURI",), ("Enumerate",)),
    "new-item": Cmdlet(new_item, ("Path", "Transport", "Address", "CertificateThumbPrint"), ("Force",)),
    "remove-item": Cmdlet(remove_item, ("Path",), ("Recurse", "Force")),
    "get-item": Cmdlet(get_item, ("Path",)),
    "set-item": Cmdlet(set_item, ("Path", "Value"), ("Force",)),
    "get-netfirewallrule": Cmdlet(firewall_rules, ("Name",)),
    "remove-netfirewallrule": Cmdlet(remove_rule, ("Name",)),
    "new-netfirewallrule": Cmdlet(new_rule, FIREWALL),
    "get-netfirewallportfilter": Cmdlet(port_filter),
    "get-localuser": Cmdlet(local_user, ("Name",)),
    "set-localuser": Cmdlet(set_local_user, ("Name", "PasswordNeverExpires")),
    "get-ciminstance": Cmdlet(cim_instance, ("Namespace", "ClassName", "Filter")),
    "get-date": Cmdlet(get_date, ("Format",)),
    "get-acl": Cmdlet(get_acl, ("Path",)),
    "get-netadapter": Cmdlet(adapters),
    "set-netipinterface": Cmdlet(set_ip_interface, ("AddressFamily", "Dhcp")),
    "get-netipaddress": Cmdlet(ip_addresses, ("AddressFamily",)),
    "remove-netipaddress": Cmdlet(remove_ip_address, (), ("Confirm",)),
    "new-netipaddress": Cmdlet(new_ip_address, ("IPAddress", "PrefixLength")),
    "add-windowscapability": Cmdlet(add_capability, ("Name",), ("Online",)),
}
