"""Describes a KD packet as a kind and fields, as `winvm kd decode` and `winvm kd listen` report it."""

from __future__ import annotations

import struct

from harness.debuggers.kd.io import DebugIo, FileRequest
from harness.debuggers.kd.manipulate import Api, Manipulate
from harness.debuggers.kd.packets import Packet, PacketType
from harness.debuggers.kd.state import StateChange
from harness.errors import KdError

Fields = dict[str, object]
_CONTROL = {PacketType.ACK: "ack", PacketType.RESEND: "resend", PacketType.RESET: "reset"}
_MEMORY = (Api.READ_VIRTUAL, Api.WRITE_VIRTUAL, Api.READ_PHYSICAL, Api.WRITE_PHYSICAL)


def describe(packet: Packet, *, from_host: bool = False) -> tuple[str, Fields]:
    """Kind and fields of a packet; a malformed payload gives `control` with an `error`.

    Fields that only a reply sets, such as the status, are left out if `from_host`: a request has
    uninitialized memory there.
    """
    if packet.control:
        kind = _CONTROL.get(PacketType(packet.type), "control")
        return kind, {"id": packet.id}
    try:
        kind, fields = _described(packet, from_host=from_host)
    except KdError as error:
        kind, fields = "control", {"type": packet.type, "error": error.message}
    return kind, {"id": packet.id, **fields}


def _described(packet: Packet, *, from_host: bool) -> tuple[str, Fields]:
    if packet.type == PacketType.DEBUG_IO:
        said = DebugIo.parse(packet.payload)
        if from_host:
            return "control", {"what": "prompt-answer", "size": said.answer_limit}
        return "dbgprint", {"text": said.text, **({"prompt": True} if said.prompt else {})}
    if packet.type == PacketType.STATE_CHANGE64:
        return state_fields(StateChange.parse(packet.payload))
    if packet.type == PacketType.STATE_MANIPULATE:
        return "manipulate", _manipulate(Manipulate.parse(packet.payload), request=from_host)
    if packet.type == PacketType.FILE_IO:
        wanted = FileRequest.parse(packet.payload)
        return "file-io", {"operation": wanted.operation, "path": wanted.path, "status": wanted.status}
    return "control", {"type": packet.type, "size": len(packet.payload)}


def state_fields(change: StateChange) -> tuple[str, Fields]:
    """Kind and fields of a state change."""
    if change.symbols:
        symbols = change.symbols
        kind = "unload-symbols" if symbols.unload else "load-symbols"
        return kind, {"path": symbols.path, "base": symbols.base, "size": symbols.size}
    if change.exception:
        raised = change.exception
        return "exception", {
            "code": raised.code,
            "address": raised.address,
            "first_chance": raised.first_chance,
            "pc": change.pc,
            "processor": change.processor,
            "parameters": list(raised.information),
        }
    return "control", {"type": PacketType.STATE_CHANGE64, "command_string": True}


def _manipulate(message: Manipulate, *, request: bool) -> Fields:
    name = Api(message.api).name.lower() if message.api in set(Api) else f"{message.api:#x}"
    fields: Fields = {"api": name} if request else {"api": name, "status": message.status}
    if message.api in _MEMORY:
        address, count, actual = struct.unpack_from("<QII", message.union)
        fields |= {"address": address, "count": count} | ({} if request else {"actual": actual})
    return fields
