"""The WS-Management shell service: one method per action, envelope in, envelope out.

Facts: [MS-WSMV] 3.1.4 (shell messages and their processing).
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import threading
import time
import xml.etree.ElementTree as ET
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from winrmd import envelope
from winrmd.envelope import CONFIG, SHELL, TRANSFER, Fault, MalformedEnvelopeError, Request, TimedOutFault
from winrmd.process import EXIT_CONTROL_C, EXIT_TERMINATED
from winrmd.shells import DEFAULT_IDLE_S, Shell, ShellTable, new_id

# Bytes of an answer that are not base64 of the output, at most.
ENVELOPE_OVERHEAD_BYTES = 4096
MAX_REPLAYS = 8

_STREAMS = ("stdout", "stderr")

# (request, whether its client has gone) -> (body, summary for the log)
Handler = Callable[[Request, Callable[[], bool]], tuple[str, str]]

log = logging.getLogger("winrmd")


@dataclass(frozen=True)
class Reply:
    """An HTTP status with its body; `summary` is for the access log and contains no data of the request."""

    status: int
    body: bytes
    summary: str


class Service:
    """Answers WS-Management requests; thread-safe.

    Args:
        user: name reported as the owner of shells.
    """

    def __init__(self, user: str) -> None:
        self.shells = ShellTable()
        self._user = user
        self._machine = os.environ.get("COMPUTERNAME", "localhost")
        self._replays: OrderedDict[str, Reply] = OrderedDict()
        self._replays_lock = threading.Lock()
        self._actions: dict[str, Handler] = {
            f"{TRANSFER}/Create": self._create,
            f"{TRANSFER}/Delete": self._delete,
            f"{TRANSFER}/Get": self._get,
            f"{SHELL}/Command": self._command,
            f"{SHELL}/Send": self._send,
            f"{SHELL}/Receive": self._receive,
            f"{SHELL}/Signal": self._signal,
        }

    def handle(self, data: bytes, abandoned: Callable[[], bool]) -> Reply:
        """Answers one request; every failure becomes a SOAP fault.

        A client that lost an answer sends the same request again, with the same MessageID. It gets the same
        answer, and the request is not carried out twice: no output is lost and no input doubled.

        Args:
            data: the request envelope.
            abandoned: returns whether the client has gone while its request waited.
        """
        message_id = action = ""
        try:
            request = envelope.parse(data)
            message_id, action = request.message_id, request.action
            replay = self._replays.get(message_id)
            if replay is not None:
                return replay
            body, summary = self._handler(action)(request, abandoned)
        except Fault as fault:
            return self._fault(fault, message_id, action)
        except Exception:
            log.exception("request failed: %s", action[-64:])
            return self._fault(
                Fault(1359, "An internal error occurred; see the log of winrmd."), message_id, action
            )
        reply = Reply(200, envelope.response(f"{action}Response", message_id, body), summary)
        if message_id:
            self._remember(message_id, reply)
        return reply

    def _handler(self, action: str) -> Handler:
        handler = self._actions.get(action)
        if handler is None:
            reason = f"The action {action!r} is not supported."
            raise Fault(2150858753, reason, subcode="a:ActionNotSupported", sender=True)
        return handler

    def _fault(self, fault: Fault, message_id: str, action: str) -> Reply:
        body = envelope.fault_response(fault, message_id, self._machine)
        name = action.rpartition("/")[2] if action in self._actions else "?"
        return Reply(500, body, f"{name} fault {fault.code}")

    def _remember(self, message_id: str, reply: Reply) -> None:
        with self._replays_lock:
            self._replays[message_id] = reply
            while len(self._replays) > MAX_REPLAYS:
                self._replays.popitem(last=False)

    def _create(self, request: Request, _: Callable[[], bool]) -> tuple[str, str]:
        if request.resource_uri.lower() != f"{SHELL}/cmd":
            raise Fault(
                2150858811,
                f"The resource URI {request.resource_uri!r} is not supported, only {SHELL}/cmd.",
                subcode="a:DestinationUnreachable",
                sender=True,
            )
        wanted = request.content(SHELL, "Shell")
        variables = wanted.findall(f"{{{SHELL}}}Environment/{{{SHELL}}}Variable")
        codepage = request.options.get("WINRS_CODEPAGE", "")
        shell = self.shells.create(
            shell_id=_given_id(wanted, "ShellId"),
            environment={variable.get("Name", ""): variable.text or "" for variable in variables},
            directory=(wanted.findtext(f"{{{SHELL}}}WorkingDirectory") or "").strip() or None,
            codepage=int(codepage) if codepage.isascii() and codepage.isdigit() else None,
            idle_s=envelope.duration(wanted.findtext(f"{{{SHELL}}}IdleTimeOut") or "", DEFAULT_IDLE_S),
        )
        uri = f"{SHELL}/cmd"
        body = (
            f"<x:ResourceCreated><a:Address>{envelope.ADDRESSING}/role/anonymous</a:Address>"
            f"<a:ReferenceParameters><w:ResourceURI>{uri}</w:ResourceURI><w:SelectorSet>"
            f'<w:Selector Name="ShellId">{escape(shell.id)}</w:Selector></w:SelectorSet>'
            f"</a:ReferenceParameters></x:ResourceCreated>{self._described(shell)}"
        )
        return body, f"Create shell={shell.id}"

    def _delete(self, request: Request, _: Callable[[], bool]) -> tuple[str, str]:
        self.shells.delete(request.shell_id.upper())
        return "", f"Delete shell={request.shell_id}"

    def _get(self, request: Request, _: Callable[[], bool]) -> tuple[str, str]:
        if request.resource_uri == CONFIG:
            size = envelope.MAX_ENVELOPE_BYTES // 1024
            return (
                f"<cfg:Config><cfg:MaxEnvelopeSizekb>{size}</cfg:MaxEnvelopeSizekb></cfg:Config>",
                "Get config",
            )
        with self.shells.borrow(request.shell_id.upper()) as shell:
            return self._described(shell), f"Get shell={shell.id}"

    def _command(self, request: Request, _: Callable[[], bool]) -> tuple[str, str]:
        line = request.content(SHELL, "CommandLine")
        command_id = _given_id(line, "CommandId")
        with self.shells.borrow(request.shell_id.upper()) as shell:
            command = shell.run(
                command=line.findtext(f"{{{SHELL}}}Command") or "",
                arguments=[argument.text or "" for argument in line.findall(f"{{{SHELL}}}Arguments")],
                command_id=command_id or new_id(),
                skip_shell=request.options.get("WINRS_SKIP_CMD_SHELL", "").upper() in ("TRUE", "1"),
            )
            shown = line.get("CommandId", command.id)
            body = f"<rsp:CommandResponse><rsp:CommandId>{shown}</rsp:CommandId></rsp:CommandResponse>"
            return body, f"Command shell={shell.id} command={command.id}"

    def _send(self, request: Request, _: Callable[[], bool]) -> tuple[str, str]:
        stream = _child(request.content(SHELL, "Send"), "Stream")
        if stream.get("Name", "").lower() != "stdin":
            raise Fault(87, "Only the stream stdin takes input.", sender=True)
        try:
            data = base64.b64decode(stream.text or "", validate=False)
        except (binascii.Error, ValueError) as error:
            raise MalformedEnvelopeError("The stream is not base64.") from error
        end = stream.get("End", "").lower() == "true"
        command_id = stream.get("CommandId", "").upper()
        with self.shells.borrow(request.shell_id.upper()) as shell:
            if not shell.command(command_id).process.send(data, end, request.timeout_s):
                raise TimedOutFault
            return "<rsp:SendResponse/>", f"Send command={command_id} bytes={len(data)} end={end}"

    def _receive(self, request: Request, abandoned: Callable[[], bool]) -> tuple[str, str]:
        desired = _child(request.content(SHELL, "Receive"), "DesiredStream")
        names = [name for name in _STREAMS if name in (desired.text or "").lower().split()]
        command_id = desired.get("CommandId", "").upper()
        limit = (request.max_bytes - ENVELOPE_OVERHEAD_BYTES) // 4 * 3
        started = time.monotonic()
        with self.shells.borrow(request.shell_id.upper()) as shell:
            command = shell.command(command_id)
            output = command.receive(names, limit, request.timeout_s, abandoned)
        if output is None:
            raise TimedOutFault
        # Ids are returned in the client's spelling.
        label = f'CommandId="{escape(desired.get("CommandId", ""))}"'
        parts = []
        for name in names:
            data = output.data[name]
            end = ' End="true"' if name in output.ended else ""
            if data or end:
                text = base64.b64encode(data).decode("ascii")
                parts.append(f'<rsp:Stream Name="{name}" {label}{end}>{text}</rsp:Stream>')
        if output.exit_code is None:
            parts.append(f'<rsp:CommandState {label} State="{SHELL}/CommandState/Running"/>')
        else:
            parts.append(
                f'<rsp:CommandState {label} State="{SHELL}/CommandState/Done">'
                f"<rsp:ExitCode>{output.exit_code}</rsp:ExitCode></rsp:CommandState>"
            )
        sizes = " ".join(f"{name}={len(output.data[name])}" for name in names)
        waited = time.monotonic() - started
        body = f"<rsp:ReceiveResponse>{''.join(parts)}</rsp:ReceiveResponse>"
        return body, f"Receive command={command_id} {sizes} exit={output.exit_code} waited={waited:.3f}"

    def _signal(self, request: Request, _: Callable[[], bool]) -> tuple[str, str]:
        signal = request.content(SHELL, "Signal")
        command_id = signal.get("CommandId", "").upper()
        name = (signal.findtext(f"{{{SHELL}}}Code") or "").strip().rpartition("/")[2].lower()
        # Under Wine control events do not reach the console of another process, so the program is ended
        # with the exit code that an unhandled Ctrl+C gives.
        codes = {"terminate": EXIT_TERMINATED, "ctrl_c": EXIT_CONTROL_C, "ctrl_break": EXIT_CONTROL_C}
        if name not in codes:
            raise Fault(87, f"The signal {name!r} is not supported.", sender=True)
        with self.shells.borrow(request.shell_id.upper()) as shell:
            shell.signal(command_id, codes[name])
        return "<rsp:SignalResponse/>", f"Signal command={command_id} code={name}"

    def _described(self, shell: Shell) -> str:
        now = time.monotonic()
        return (
            f"<rsp:Shell><rsp:ShellId>{escape(shell.id)}</rsp:ShellId>"
            f"<rsp:ResourceUri>{SHELL}/cmd</rsp:ResourceUri><rsp:Owner>{escape(self._user)}</rsp:Owner>"
            f"<rsp:IdleTimeOut>PT{shell.idle_s:.3f}S</rsp:IdleTimeOut>"
            f"<rsp:InputStreams>stdin</rsp:InputStreams><rsp:OutputStreams>stdout stderr</rsp:OutputStreams>"
            f"<rsp:ShellRunTime>PT{now - shell.created:.0f}S</rsp:ShellRunTime>"
            f"<rsp:ShellInactivity>PT{now - shell.last_used:.0f}S</rsp:ShellInactivity></rsp:Shell>"
        )


def _given_id(element: ET.Element, name: str) -> str:
    """An id that the client chose, in upper case; empty if it chose none."""
    given = element.get(name, "")
    if not re.fullmatch(r"[0-9A-Za-z:{}_-]{0,64}", given):
        raise Fault(87, f"{name} is not an identifier.", sender=True)
    return given.upper()


def _child(element: ET.Element, name: str) -> ET.Element:
    child = element.find(f"{{{SHELL}}}{name}")
    if child is None:
        raise MalformedEnvelopeError(f"The request has no {name} element.")
    return child
