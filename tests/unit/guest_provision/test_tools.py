"""The fake tools refuse what the real ones refuse: else the tests of provisioning would prove nothing."""

from __future__ import annotations

import pytest
from provision.powershell import PREAMBLE

from tests.fakes.provision_machine import PASSWORD, certificate, prepared
from tests.fakes.windows_tools import FakeWindows

DONE = 0
KEY = "key:1.2.3.4"


def run(machine: FakeWindows, *argv: str, **environment: str) -> tuple[int, str]:
    done = machine.run(argv, environment, 60)
    return done.code, done.stdout + done.stderr


def script(machine: FakeWindows, text: str, **environment: str) -> tuple[int, str]:
    options = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command")
    return run(machine, "powershell.exe", *options, PREAMBLE + text, **environment)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", KEY), DONE),
        (("/dbgsettings", "NET", "HOSTIP:10.0.2.2", "PORT:49152", "newkey"), DONE),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", KEY, "nodhcp", "/noumex"), DONE),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000"), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", KEY, "newkey"), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:5000", KEY), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:65536", KEY), 1),
        (("/dbgsettings", "net", "hostip:10.0.2", "port:50000", KEY), 1),
        (("/dbgsettings", "net", "hostip=10.0.2.2", "port:50000", KEY), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", "key:1.2.3"), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", "key:A.2.3.4"), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", "key:3w5e11264sgsf.2.3.4"), DONE),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", "key:3w5e11264sgsg.2.3.4"), 1),
        (("/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", KEY, "busparams:0.4.0"), 1),
        (("/dbgsettings", "serial", "debugport:1", "baudrate:115200"), DONE),
        (("/dbgsettings", "serial", "debugport:1", "baudrate:1200"), 1),
        (("/dbgsettings", "serial", "debugport:COM1"), 1),
        (("/dbgsettings", "floppy"), 1),
        (("/set", "{dbgsettings}", "busparams", "0.4.0"), DONE),
        (("/set", "{dbgsettings}", "busparams", "0.32.0"), 1),
        (("/set", "{dbgsettings}", "busparams", "0:4:0"), 1),
        (("/set", "dbgsettings", "busparams", "0.4.0"), 1),
        (("/set", "TESTSIGNING", "ON"), DONE),
        (("/set", "TESTSIGNING", "maybe"), 1),
        (("/set", "testsinging", "on"), 1),
        (("/set", "{default}", "recoveryenabled", "no"), DONE),
        (("/set", "{default}", "bootstatuspolicy", "IgnoreAllFailures"), DONE),
        (("/set", "{default}", "bootstatuspolicy", "IgnoreEverything"), 1),
        (("/set", "'{default}'", "recoveryenabled", "no"), 1),
        (("/debug", "on"), DONE),
        (("/debug",), 1),
        (("/enum", "{current}"), DONE),
        (("/enum", "{nobody}"), 1),
        (("/degub", "on"), 1),
    ],
)
def test_bcdedit(arguments: tuple[str, ...], code: int) -> None:
    assert run(FakeWindows(), "bcdedit.exe", *arguments)[0] == code


def test_bcdedit_prints_what_it_was_given() -> None:
    machine = FakeWindows()
    run(machine, "bcdedit.exe", "/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", KEY)
    run(machine, "bcdedit.exe", "/set", "{dbgsettings}", "busparams", "0.4.0")
    *lines, last = run(machine, "bcdedit.exe", "/dbgsettings")[1].splitlines()
    assert dict(line.split() for line in lines) == {
        "key": "1.2.3.4",
        "debugtype": "NET",
        "hostip": "10.0.2.2",
        "port": "50000",
        "dhcp": "Yes",
        "busparams": "0.4.0",
    }
    assert last == "The operation completed successfully."
    run(machine, "bcdedit.exe", "/dbgsettings", "net", "hostip:10.0.2.2", "port:50000", KEY)
    assert "busparams" not in run(machine, "bcdedit.exe", "/dbgsettings")[1]


def test_secure_boot_protects_test_signing() -> None:
    code, text = run(FakeWindows(secure_boot=True), "bcdedit.exe", "/set", "TESTSIGNING", "ON")
    assert code == 1
    assert "protected by Secure Boot policy" in text


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("verifier.exe", "/standard", "/driver", "a.sys", "b.sys"), 2),
        (("verifier.exe", "/standard", "/driver"), 1),
        (("verifier.exe", "/standard", "/driver", r"C:\a.sys"), 1),
        (("verifier.exe", "/standard", "/driver", "*.sys"), 1),
        (("verifier.exe", "/standard"), 1),
        (("verifier.exe", "/reset"), 0),
        (("verifier.exe", "/querysettings"), 0),
        (("sc.exe", "config", "wuauserv", "start=", "disabled"), 0),
        (("sc.exe", "config", "wuauserv", "start=disabled"), 1639),
        (("sc.exe", "config", "wuauserv", "start=", "never"), 1639),
        (("sc.exe", "config", "nobody", "start=", "auto"), 1060),
        (("powercfg.exe", "-change", "-monitor-timeout-ac", "0"), 0),
        (("powercfg.exe", "-change", "-monitor-timeout", "0"), 1),
        (("powercfg.exe", "-h", "off"), 0),
        (("powercfg.exe", "-h", "no"), 1),
        (("powercfg.exe", "/query", "SCHEME_CURRENT", "SUB_SLEEP", "STANDBYIDLE"), 0),
        (("powercfg.exe", "/query", "SCHEME_CURRENT", "SUB_SLEEP", "VIDEOIDLE"), 1),
        (("certutil.exe", "-addstore", "-f", "Root", r"C:\winvm\provision\test.cer"), 0),
        (("certutil.exe", "-addstore", "-f", "Root", r"C:\winvm\provision\winrm.pfx"), 0x8009310B),
        (("certutil.exe", "-addstore", "-f", "Root", r"C:\nothing.cer"), 0x80070002),
        (("certutil.exe", "-store", "Root", "00" * 20), 0x80090011),
        (("icacls.exe", r"C:\winvm\provision\test.cer", "/inheritance:r", "/grant", "*S-1-5-18:F"), 0),
        (("icacls.exe", r"C:\winvm\provision\test.cer", "/inheritance:r", "/grant", "S-1-5-18:F"), 1332),
        (("icacls.exe", r"C:\winvm\provision\test.cer", "/setowner", "*S-1-5-32-544"), 0),
        (("icacls.exe", r"C:\winvm\provision\test.cer", "/setowner", "nobody"), 1332),
        (("icacls.exe", r"C:\nothing", "/inheritance:r", "/grant", "*S-1-5-18:F"), 2),
        (("schtasks.exe", "/query", "/tn", "x", "/fo", "csv", "/nh"), 1),
        (("schtasks.exe", "/delete", "/tn", "x", "/f"), 1),
        (("shutdown.exe", "/r", "/f", "/t", "0"), 0),
        (("shutdown.exe", "/r", "/f", "/t", "now"), 1),
    ],
)
def test_other_tools(argv: tuple[str, ...], code: int) -> None:
    assert run(prepared(), *argv)[0] == code


TASK = ("/sc", "onstart", "/ru", "SYSTEM", "/rl", "highest", "/f")


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        ("y" * 261, TASK, 0),
        ("y" * 262, TASK, 1),
        ("y", (*TASK, "/delay", "0001:00"), 0),
        ("y", (*TASK, "/delay", "60"), 1),
        ("y", ("/sc", "onstart", "/ru", "winvm", "/f"), 1),
        ("y", ("/sc", "onstart", "/ru", "SYSTEM", "/rl", "all"), 1),
        ("y", ("/ru", "SYSTEM"), 1),
        ("y", (*TASK, "/xml", "x"), 1),
    ],
)
def test_schtasks(command: str, options: tuple[str, ...], code: int) -> None:
    assert run(FakeWindows(), "schtasks.exe", "/create", "/tn", "x", "/tr", command, *options)[0] == code


PRIVATE = "Get-NetConnectionProfile | Set-NetConnectionProfile -NetworkCategory Private; "
LISTENER = (
    PRIVATE
    + r"Start-Service -Name WinRM; New-Item -Path WSMan:\localhost\Listener -Transport HTTPS -Address *"
)
IMPORT = (
    r"Import-PfxCertificate -FilePath 'C:\winvm\provision\winrm.pfx' -CertStoreLocation Cert:\LocalMachine\My"
    " -Password (ConvertTo-SecureString -String $env:SECRET -AsPlainText -Force) | Out-Null"
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Get-Nothing", "not recognized as the name of a cmdlet"),
        ("Start-Service -Nmae WinRM", "A parameter cannot be found that matches name 'Nmae'"),
        ("Start-Service -Name nobody", "Cannot find any service"),
        (r"Get-Item -Path WSMan:\localhost\MaxTimeoutms", "the WinRM service is not running"),
        (r"Start-Service -Name WinRM; Get-Item -Path WSMan:\localhost\Max", "Cannot find path"),
        (r"Start-Service -Name WinRM; Set-Item -Path WSMan:\localhost\MaxTimeoutms -Value 1", "is Public"),
        (f"{LISTENER} -CertificateThumbPrint '00'", "no appropriate certificate"),
        (LISTENER.replace("HTTPS", "HTTP"), "already exists"),
        (LISTENER.removeprefix(PRIVATE), "is Public"),
        (PRIVATE.replace("Private", "Secret"), "Cannot validate argument"),
        (IMPORT.replace("SECRET", "NOTHING"), "ConvertTo-SecureString"),
        (IMPORT, "different password"),
        ("Get-NetFirewallRule -Name x", "No MSFT_NetFirewallRule objects"),
        ("Get-LocalUser -Name nobody", "was not found"),
        ("Set-LocalUser -Name winvm -PasswordNeverExpires yes", "Cannot convert value"),
        ("Get-CimInstance -Namespace root -ClassName Win32_DeviceGuard", "Invalid class"),
        ("Get-Acl -Path C:\\nothing", "does not exist"),
        (
            "Get-NetConnectionProfile | Select-Object -ExpandProperty Alias",
            'Property "Alias" cannot be found',
        ),
        ("Add-WindowsCapability -Online -Name OpenSSH.Server~~~~0.0.1.0", "0x800f0954"),
        ("& 'C:\\nothing.ps1'", "not recognized as the name of a script file"),
        ("Out-Null )", "Unexpected token"),
        ("Get-LocalUser -Name", "ends where more was expected"),
    ],
)
def test_powershell_refuses(text: str, complaint: str) -> None:
    code, said = script(prepared(), text, SECRET="not the password")
    assert code == 1
    assert complaint in said


def test_an_error_without_stop_is_no_exit_code() -> None:
    options = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-Command")
    assert run(FakeWindows(), "powershell.exe", *options, "Start-Service -Name nobody")[0] == 0


def test_double_quotes_are_lost_on_the_way() -> None:
    assert script(FakeWindows(), 'Get-LocalUser -Name "winvm" | Out-Null')[0] == 1


def test_a_listener_needs_its_certificate() -> None:
    machine = prepared()
    machine.networks.clear()
    thumbprint = certificate()[2]
    assert script(machine, IMPORT, SECRET=PASSWORD) == (0, "")
    assert script(machine, f"{LISTENER} -CertificateThumbPrint '{thumbprint}' | Out-Null") == (0, "")
    enumerate_all = "Get-WSManInstance -ResourceURI winrm/config/listener -Enumerate"
    code, text = script(machine, f"{enumerate_all} | Select-Object -ExpandProperty Transport")
    assert (code, text.split()) == (0, ["HTTP", "HTTPS"])
