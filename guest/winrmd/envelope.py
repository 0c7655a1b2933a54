"""SOAP envelopes of WS-Management: parses requests by namespace, builds responses and faults.

Facts: [MS-WSMV] 2.2 (messages), DSP0226 (headers), SOAP 1.2 part 1 section 5.4 (faults).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from html import escape

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
CONFIG = "http://schemas.microsoft.com/wbem/wsman/1/config"

FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"

MAX_ENVELOPE_BYTES = 512 * 1024
MIN_ENVELOPE_BYTES = 8 * 1024
DEFAULT_ENVELOPE_BYTES = 153_600
DEFAULT_TIMEOUT_S = 60.0
MAX_TIMEOUT_S = 300.0

_DURATION = re.compile(
    r"P(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,9}(?:\.\d{1,9})?)S)?)?",
)

_OPEN = (
    f'<s:Envelope xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:w="{WSMAN}" xmlns:rsp="{SHELL}"'
    f' xmlns:x="{TRANSFER}" xmlns:f="{FAULT}" xmlns:cfg="{CONFIG}"><s:Header>'
)


class Fault(Exception):  # noqa: N818 - SOAP's own word
    """A request that ends in a SOAP fault.

    Args:
        code: WSManFault code, an unsigned Win32 error or HRESULT.
        reason: one sentence for the client.
        subcode: qualified name of the SOAP subcode.
        sender: whether the request caused the fault.
    """

    def __init__(
        self, code: int, reason: str, *, subcode: str = "w:InternalError", sender: bool = False
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.subcode = subcode
        self.sender = sender


class MalformedEnvelopeError(Fault):
    """The request is not a SOAP envelope, or one that this endpoint refuses to read."""

    def __init__(self, reason: str) -> None:
        super().__init__(2150858817, reason, subcode="w:SchemaValidationError", sender=True)


class TimedOutFault(Fault):
    """There was no output within the operation timeout. Clients ask again; it is no error to them."""

    def __init__(self) -> None:
        super().__init__(
            2150858793,
            "The WS-Management service cannot complete the operation within the time specified in"
            " OperationTimeout.",
            subcode="w:TimedOut",
        )


@dataclass(frozen=True)
class Request:
    """One parsed request. Names of `options` are in upper case; `timeout_s` and `max_bytes` are capped."""

    action: str
    resource_uri: str
    message_id: str
    shell_id: str
    options: dict[str, str]
    timeout_s: float
    max_bytes: int
    body: ET.Element

    def content(self, namespace: str, name: str) -> ET.Element:
        """The named child of the body.

        Raises:
            MalformedEnvelopeError: the body has no such child.
        """
        element = self.body.find(f"{{{namespace}}}{name}")
        if element is None:
            raise MalformedEnvelopeError(f"The body has no {name} element.")
        return element


def parse(data: bytes) -> Request:
    """Reads one request.

    Raises:
        MalformedEnvelopeError: not UTF-8, not well-formed, not a SOAP 1.2 envelope, or it declares a DTD
            (only entities can make a small document large).
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedEnvelopeError("The envelope is not UTF-8.") from error
    if "<!DOCTYPE" in text:
        raise MalformedEnvelopeError("Document type declarations are refused.")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without a DTD there is nothing to expand
    except (ET.ParseError, ValueError) as error:
        raise MalformedEnvelopeError("The envelope is not well-formed XML.") from error
    header = root.find(f"{{{SOAP}}}Header")
    body = root.find(f"{{{SOAP}}}Body")
    if root.tag != f"{{{SOAP}}}Envelope" or header is None or body is None:
        raise MalformedEnvelopeError("The document is not a SOAP 1.2 envelope with header and body.")
    selectors = _named(header, "SelectorSet", "Selector")
    return Request(
        action=_text(header, ADDRESSING, "Action"),
        resource_uri=_text(header, WSMAN, "ResourceURI"),
        message_id=_text(header, ADDRESSING, "MessageID"),
        shell_id=selectors.get("SHELLID", ""),
        options=_named(header, "OptionSet", "Option"),
        timeout_s=min(duration(_text(header, WSMAN, "OperationTimeout"), DEFAULT_TIMEOUT_S), MAX_TIMEOUT_S),
        max_bytes=_envelope_size(_text(header, WSMAN, "MaxEnvelopeSize")),
        body=body,
    )


def duration(text: str, default: float) -> float:
    """Seconds of an XML Schema duration without years and months (`PT20S`); `default` for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return default
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def response(action: str, relates_to: str, body: str) -> bytes:
    """An envelope around `body`: XML that may use the prefixes s, a, w, rsp, x, f and cfg."""
    related = f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo>" if relates_to else ""
    return (
        f"{_OPEN}<a:Action>{escape(action)}</a:Action>{related}"
        f"<a:To>{ADDRESSING}/role/anonymous</a:To></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def fault_response(fault: Fault, relates_to: str, machine: str) -> bytes:
    """The envelope of a fault; clients show `machine` as its source."""
    reason = escape(fault.reason)
    value = "s:Sender" if fault.sender else "s:Receiver"
    return response(
        FAULT_ACTION,
        relates_to,
        f"<s:Fault><s:Code><s:Value>{value}</s:Value><s:Subcode><s:Value>{fault.subcode}</s:Value></s:Subcode>"
        f'</s:Code><s:Reason><s:Text xml:lang="en-US">{reason}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault Code="{fault.code}" Machine="{escape(machine)}"><f:Message>{reason}</f:Message>'
        f"</f:WSManFault></s:Detail></s:Fault>",
    )


def _text(header: ET.Element, namespace: str, name: str) -> str:
    return (header.findtext(f"{{{namespace}}}{name}") or "").strip()


def _named(header: ET.Element, group: str, item: str) -> dict[str, str]:
    elements = header.findall(f"{{{WSMAN}}}{group}/{{{WSMAN}}}{item}")
    return {element.get("Name", "").upper(): (element.text or "").strip() for element in elements}


def _envelope_size(text: str) -> int:
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else DEFAULT_ENVELOPE_BYTES
    return max(MIN_ENVELOPE_BYTES, min(size, MAX_ENVELOPE_BYTES))
