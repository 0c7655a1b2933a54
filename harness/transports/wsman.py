"""HTTPS connections to the guest's WS-Management endpoint: pooled, bounded, their errors translated.

pywinrm speaks the protocol; this file decides how long and how much it may read, and what its errors mean.
"""

from __future__ import annotations

import io
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from harness.deadline import Deadline
from harness.display.debuglog import hide
from harness.errors import AuthenticationError, DeadlineError, InfrastructureError, TransportError
from harness.host.logger import logger

ANSWER_LIMIT = 4 << 20
"""Bytes in one answer. Both ends agree on envelopes of 150 KiB; a guest that sends more is not trusted."""

CONNECT_TIMEOUT_S = 10.0
OPERATION_TIMEOUT_S = 60.0
ANSWER_GRACE_S = 20.0
"""Seconds beyond the operation timeout that an emulated guest may need to answer."""

NO_CHECK_TIME = 0x20_0000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: one certificate is accepted, and the host's clock may be wrong."""

SHELL_NOT_FOUND = 2150858843
"""WS-Management fault 0x8033805B: the selectors name no shell of this server."""

T = TypeVar("T")


@dataclass(frozen=True)
class WinRmEndpoint:
    """Where the guest's WinRM listens, and the secrets of its image.

    `certificate` is the PEM file of the guest's own self-signed certificate: the only one accepted.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    certificate: Path

    @property
    def url(self) -> str:
        """The address that WS-Management requests are posted to."""
        return f"https://{self.host}:{self.port}/wsman"


_LOG = logger("winrm")


class ShellNotFoundError(TransportError):
    """The guest no longer knows the shell: it was reverted or restarted since."""


class _BoundedSocket(ssl.SSLSocket):
    """A TLS socket whose every operation ends by the deadline of its context.

    A plain socket's timeout starts anew with each byte: a guest that sends slowly would never exceed it.
    """

    context: _BoundedContext

    def do_handshake(self, block: bool = False) -> None:
        self._bound()
        super().do_handshake(block)

    def recv_into(self, *arguments: Any) -> int:
        self._bound()
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        self._bound()
        return super().send(*arguments)

    def _bound(self) -> None:
        remaining = self.context.deadline.remaining()
        if not remaining:
            raise TimeoutError("the deadline has passed")
        self.settimeout(remaining)


class _BoundedContext(ssl.SSLContext):
    """Makes `_BoundedSocket`s; `deadline` is that of the request under way."""

    sslsocket_class = _BoundedSocket
    deadline = Deadline.after(0.0)


class _BoundedAdapter(HTTPAdapter):
    """Reads answers up to a size and a deadline, and follows no redirect: the other end is not trusted."""

    def __init__(self) -> None:
        self._context = _BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.verify_flags |= NO_CHECK_TIME
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.deadline = Deadline.after(OPERATION_TIMEOUT_S)
        self.answer_timeout_s = OPERATION_TIMEOUT_S

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002 the answer is always streamed, to stop at the limit
        timeout: Any = None,  # noqa: ARG002 pywinrm knows whole seconds only
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        self._context.deadline = self.deadline.at_most(self.answer_timeout_s)
        remaining = max(self._context.deadline.remaining(), 0.01)
        limits = (min(CONNECT_TIMEOUT_S, remaining), remaining)
        response = super().send(
            request, stream=True, timeout=limits, verify=verify, cert=cert, proxies=proxies
        )
        try:
            body = self._read(response)
        except BaseException:
            response.close()
            raise
        response.raw.release_conn()
        response.raw = io.BytesIO(body)
        return response

    def _read(self, response: requests.Response) -> bytes:
        if response.is_redirect:
            raise TransportError("The guest's WinRM redirected to another address, which is never followed.")
        body = bytearray()
        while chunk := response.raw.read1(1 << 16, decode_content=False):
            body += chunk
            if len(body) > ANSWER_LIMIT:
                raise TransportError(f"The guest's WinRM answer is longer than {ANSWER_LIMIT >> 20} MiB.")
        return bytes(body)


class _Connection:
    """One pywinrm client with its one TCP connection; used by one thread at a time."""

    def __init__(self, endpoint: WinRmEndpoint) -> None:
        self.protocol = Protocol(
            endpoint=endpoint.url,
            transport="ssl",  # Basic authentication over HTTPS
            username=endpoint.user,
            password=endpoint.password,
            ca_trust_path=str(endpoint.certificate),
            server_cert_validation="validate",
            proxy=None,
        )
        self.adapter = _BoundedAdapter()
        session = self.protocol.transport.build_session()
        session.trust_env = False  # no .netrc, no proxy, no certificate bundle from the environment
        session.headers["Accept-Encoding"] = "identity"
        session.mount("https://", self.adapter)

    def bound(self, deadline: Deadline, operation_timeout_s: float) -> None:
        # The protocol carries whole seconds, at least 1.
        self.protocol.operation_timeout_sec = max(1, int(min(operation_timeout_s, deadline.remaining())))
        self.adapter.deadline = deadline
        self.adapter.answer_timeout_s = self.protocol.operation_timeout_sec + ANSWER_GRACE_S

    def close(self) -> None:
        self.protocol.transport.close_session()


class ConnectionPool:
    """Connections to one endpoint: each call has one to itself, so a long poll never delays a Send."""

    def __init__(self, endpoint: WinRmEndpoint) -> None:
        hide(endpoint.password)
        self.endpoint = endpoint
        self.lost = False
        """Whether the connection of the newest call failed: the guest is probably gone."""
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def call(
        self,
        what: str,
        deadline: Deadline,
        exchange: Callable[[Protocol], T],
        operation_timeout_s: float = OPERATION_TIMEOUT_S,
    ) -> T:
        """Runs `exchange` on a connection of its own; `what` names it in errors ("open a shell").

        Raises `TransportError`, `AuthenticationError` or `DeadlineError`, never a foreign exception.
        """
        deadline.check(f"WinRM: {what}")
        began = time.monotonic()
        try:
            result = self._call(what, deadline, exchange, operation_timeout_s)
        except InfrastructureError as error:
            _LOG.debug("%s: %s", what, error.message)
            raise
        _LOG.debug("%s: answered after %.3f s", what, time.monotonic() - began)
        return result

    def _call(
        self, what: str, deadline: Deadline, exchange: Callable[[Protocol], T], operation_timeout_s: float
    ) -> T:
        connection = self._take()
        try:
            connection.bound(deadline, operation_timeout_s)
            result = exchange(connection.protocol)
        except InfrastructureError:
            self._drop(connection)
            raise
        except (WinRMError, WinRMTransportError) as error:
            self._give_back(connection)
            raise _translate(error, self.endpoint, what, deadline) from error
        except (requests.RequestException, HTTPError) as error:
            self._drop(connection)
            raise _translate(error, self.endpoint, what, deadline) from error
        except WinRMOperationTimeoutError as error:
            self._give_back(connection)
            raise DeadlineError(f"WinRM: {what} did not finish within its operation timeout.") from error
        except OSError as error:
            self._drop(connection)
            raise _unusable(self.endpoint, error) from error
        except (
            ET.ParseError,
            StopIteration,
            ValueError,
            LookupError,
            AttributeError,
            AssertionError,
        ) as error:
            # pywinrm raises these for an answer without the elements it looks for.
            self._drop(connection)
            raise TransportError(
                f"WinRM: {what}: the answer from {self.endpoint.url} is not WS-Management: {error!r:.200}.",
                remedy="Check that the port belongs to the guest, and see the guest's winrmd log.",
            ) from error
        self._give_back(connection)
        return result

    def close(self) -> None:
        """Closes every idle connection; those in use close when their call ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> _Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        _check_certificate(self.endpoint)
        return _Connection(self.endpoint)

    def _give_back(self, connection: _Connection) -> None:
        self.lost = False
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop(self, connection: _Connection) -> None:
        self.lost = True
        connection.close()


def _check_certificate(endpoint: WinRmEndpoint) -> None:
    """Raises `AuthenticationError` if the image's certificate file is missing or is no certificate."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(endpoint.certificate)
    except ssl.SSLError as error:
        raise _unusable(endpoint, "it is not a certificate in PEM form") from error
    except OSError as error:
        raise _unusable(endpoint, error.strerror or error) from error


def _unusable(endpoint: WinRmEndpoint, why: object) -> AuthenticationError:
    return AuthenticationError(
        f"The guest's pinned certificate {endpoint.certificate} cannot be used: {why}.",
        remedy="Build the image again: `winvm image build NAME`.",
    )


def _translate(
    error: Exception, endpoint: WinRmEndpoint, what: str, deadline: Deadline
) -> InfrastructureError:
    """The bench's error for one of requests, urllib3 or pywinrm."""
    if isinstance(error, InvalidCredentialsError):
        return AuthenticationError(
            f"The guest at {endpoint.url} refused the password of user {endpoint.user!r}.",
            remedy="The secrets are not those of this image; build it again: `winvm image build NAME`.",
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return AuthenticationError(
            f"The certificate that {endpoint.url} shows is not the image's own, {endpoint.certificate}.",
            remedy="Another program holds the port, or the image was rebuilt: `winvm down`, `winvm up`.",
            detail=str(error),
        )
    if isinstance(error, WSManFaultError):
        kind = ShellNotFoundError if error.wsman_fault_code == SHELL_NOT_FOUND else TransportError
        return kind(
            f"WinRM: {what}: the guest answered fault {error.wsman_fault_code}: {str(error.reason)[:300]!r}."
        )
    if isinstance(error, WinRMTransportError):
        return TransportError(
            f"WinRM: {what}: {endpoint.url} answered HTTP {error.code} without a WS-Management fault.",
            detail=repr(error.response_text[:1000]),
        )
    if deadline.expired:
        return DeadlineError(
            f"WinRM: {what} did not finish within {deadline.seconds:g} s.",
            remedy="See dbgprint.log in the run's artifacts for what the guest was doing.",
        )
    return TransportError(
        f"WinRM: {what}: the connection to {endpoint.url} failed: {_innermost(error)}.",
        remedy="Check that the guest runs (`winvm logs`), and start it again with `winvm down`, `winvm up`.",
    )


def _innermost(error: BaseException) -> str:
    """The operating system's error text, without the layers of urllib3 around it."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (argument for argument in error.args if isinstance(argument, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            return str(error)[:300] or type(error).__name__
        error = inner
