"""A real winrmd server on 127.0.0.1 for its tests, and a bare HTTPS client for what pywinrm never sends."""

from __future__ import annotations

import base64
import http.client
import ssl
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(
    0, str(Path(__file__).parents[2] / "guest")
)  # guest programs are no part of the host's package

from winrmd.commandline import CommandLine as CommandLine
from winrmd.envelope import MAX_ENVELOPE_BYTES as MAX_ENVELOPE_BYTES
from winrmd.process import BUFFER_BYTES as BUFFER_BYTES
from winrmd.process import Process as Process
from winrmd.process import launch as launch
from winrmd.server import IDLE_TIMEOUT_S, Server, tls_context
from winrmd.server import MAX_CONNECTIONS as MAX_CONNECTIONS
from winrmd.shells import MAX_COMMANDS as MAX_COMMANDS
from winrmd.shells import MAX_SHELLS as MAX_SHELLS

USER = "winvm"
PASSWORD = "correct horse: battery"  # a colon is legal in a Basic password

SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"


def make_certificate(folder: Path, years: float = 0) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and localhost, as an image has one: (certificate, key).

    Args:
        years: how far the host's clock was ahead (behind, if negative) when it was made.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC) + timedelta(days=365 * years)
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


@contextmanager
def serving(folder: Path, idle_timeout_s: float = IDLE_TIMEOUT_S, years: float = 0) -> Iterator[Endpoint]:
    """A server in a thread of this process, ended with all its shells afterwards."""
    certificate, key = make_certificate(folder, years)
    server = Server(("127.0.0.1", 0), tls_context(certificate, key), USER, PASSWORD, idle_timeout_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Endpoint(server, certificate)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Endpoint:
    """Where a test server listens, and requests to it."""

    def __init__(self, server: Server, certificate: Path) -> None:
        self.server = server
        self.certificate = certificate
        self.port = int(server.server_address[1])

    def connect(self) -> http.client.HTTPSConnection:
        """A fresh connection that trusts the test certificate alone."""
        context = ssl.create_default_context(cafile=self.certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)

    def post(
        self,
        body: bytes,
        *,
        path: str = "/wsman",
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPSConnection | None = None,
    ) -> tuple[int, str]:
        """Status and body of one request with the right credentials, unless `headers` says otherwise."""
        link = connection or self.connect()
        try:
            link.request("POST", path, body, {"Authorization": basic(USER, PASSWORD), **(headers or {})})
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            if connection is None:
                link.close()


def basic(user: str, password: str) -> str:
    """An Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def request(
    action: str,
    body: str = "",
    *,
    shell: str = "",
    message: str = "",
    options: str = "",
    timeout: str = "PT5S",
) -> bytes:
    """An envelope with prefixes that neither client uses."""
    message = message or f"uuid:{uuid.uuid4()}"
    return f"""<?xml version="1.0" encoding="utf-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"
 xmlns:ad="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:wm="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd" xmlns:sh="{SHELL}"><e:Header>
<ad:Action>{action}</ad:Action><ad:MessageID>{message}</ad:MessageID>
<wm:ResourceURI>{SHELL}/cmd</wm:ResourceURI><wm:OperationTimeout>{timeout}</wm:OperationTimeout>
<wm:SelectorSet><wm:Selector Name="ShellId">{shell}</wm:Selector></wm:SelectorSet>
<wm:OptionSet>{options}</wm:OptionSet></e:Header><e:Body>{body}</e:Body></e:Envelope>""".encode()


def create(*, shell: str = "", idle: str = "") -> bytes:
    """A Create request."""
    name = f' ShellId="{shell}"' if shell else ""
    idle = f"<sh:IdleTimeOut>{idle}</sh:IdleTimeOut>" if idle else ""
    return request(f"{TRANSFER}/Create", f"<sh:Shell{name}>{idle}</sh:Shell>")


def run(shell: str, line: str, command: str = "C1") -> bytes:
    """A Command request for the command interpreter."""
    body = f'<sh:CommandLine CommandId="{command}"><sh:Command>{line}</sh:Command></sh:CommandLine>'
    return request(f"{SHELL}/Command", body, shell=shell)


def receive(shell: str, command: str = "C1", *, message: str = "", timeout: str = "PT5S") -> bytes:
    """A Receive request for both streams."""
    body = (
        f'<sh:Receive><sh:DesiredStream CommandId="{command}">stdout stderr</sh:DesiredStream></sh:Receive>'
    )
    return request(f"{SHELL}/Receive", body, shell=shell, message=message, timeout=timeout)


def send(shell: str, data: bytes, command: str = "C1", *, message: str = "", timeout: str = "PT5S") -> bytes:
    """A Send request."""
    text = base64.b64encode(data).decode()
    body = f'<sh:Send><sh:Stream Name="stdin" CommandId="{command}">{text}</sh:Stream></sh:Send>'
    return request(f"{SHELL}/Send", body, shell=shell, message=message, timeout=timeout)
