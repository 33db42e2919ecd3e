"""Frames of the pipe between a session and its agent.

A frame is a head of ten bytes (length of the payload, kind, flags, stream; big endian) and its payload, at most 64 KiB
in all, so that a heartbeat never waits behind a large one. A JSON message that does not fit goes in several frames of
one stream, all but the last with `MORE`. Content (a Write's to the agent, an Exec's output from it) goes raw, within
the credit, in bytes, that the receiver has granted for that stream.
The agent has the same few lines of its own: it is one file, sent to the host.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Lost
from ciflow.encoding import loads

HEAD = struct.Struct(">IBBI")
MAX_FRAME = 64 * 1024
MAX_PAYLOAD = MAX_FRAME - HEAD.size
MAX_MESSAGE = 512 * 1024 * 1024  # bytes of one JSON message; more is a broken or hostile peer
MOST_TOKENS = 2**62  # what no counter of runs comes to; the store, which goes on above a host's, holds 2^63
CREDIT = 256 * 1024  # bytes that a stream may send before the first grant
HEARTBEAT = 10.0  # seconds
MISSED = 3


class Kind(IntEnum):
    """What a frame carries."""

    HEARTBEAT = 1
    MESSAGE = 2  # JSON
    CONTENT = 3  # raw, to the agent
    OUTPUT = 4  # raw, from the agent
    CREDIT = 5  # a number of bytes, four bytes long


MORE = 1
STDERR = 2
QUIET = 4  # output that is a result, not something to show while it comes

_KINDS = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, decoded."""

    kind: int
    stream: int
    payload: bytes
    flags: int = 0


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame. The payload has to fit."""
    if len(frame.payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(frame.payload)} bytes does not fit a frame")
    return HEAD.pack(len(frame.payload), frame.kind, frame.flags, frame.stream) + frame.payload


def encode_message(message: Any, stream: int = 0) -> bytes:
    """A JSON message as one or several frames."""
    payload = json.dumps(message, separators=(",", ":")).encode("ascii")
    pieces = [payload[at : at + MAX_PAYLOAD] for at in range(0, len(payload), MAX_PAYLOAD)]
    last = len(pieces) - 1
    return b"".join(
        encode_frame(Frame(Kind.MESSAGE, stream, piece, MORE if number < last else 0))
        for number, piece in enumerate(pieces)
    )


def encode_credit(stream: int, amount: int) -> bytes:
    return encode_frame(Frame(Kind.CREDIT, stream, amount.to_bytes(4, "big")))


HEARTBEAT_FRAME = encode_frame(Frame(Kind.HEARTBEAT, 0, b""))


@dataclass(slots=True)
class Decoder:
    """Bytes in any portions to frames. Raises Lost on bytes that are no frame: the pipe is of no more use."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames complete so far."""
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= HEAD.size:
                length, kind, flags, stream = HEAD.unpack_from(self._buffer, at)
                if length > MAX_PAYLOAD or kind not in _KINDS:
                    raise Lost("the agent's pipe carries bytes that are no frame (something else writes to it?)")
                if len(self._buffer) - at < HEAD.size + length:
                    break
                at += HEAD.size + length
                yield Frame(kind, stream, bytes(self._buffer[at - length : at]), flags)
        finally:
            del self._buffer[:at]


@dataclass(slots=True)
class Messages:
    """Puts JSON messages together from their frames."""

    _parts: dict[int, bytearray] = field(default_factory=dict)
    _held: int = 0  # bytes of all parts; each of them costs some even if it is empty

    def add(self, frame: Frame) -> Any | None:
        """The message that this frame completes, or None."""
        part = self._parts.setdefault(frame.stream, bytearray())
        part += frame.payload
        self._held += HEAD.size + len(frame.payload)
        if self._held > MAX_MESSAGE:
            raise Lost("the agent sends a message without end")
        if frame.flags & MORE:
            return None
        del self._parts[frame.stream]
        self._held = sum(map(len, self._parts.values()))
        try:
            return loads(part)
        except ValueError as e:
            raise Lost(f"the agent sends a message that is no JSON: {e}") from e
