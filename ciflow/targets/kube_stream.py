"""The streams of an exec over a websocket, by the protocol `v4.channel.k8s.io` of Kubernetes: every message is a byte
that names its channel, then bytes of it. Everything is binary.

Reading and writing take turns at the TLS connection: OpenSSL's are not made for two threads at once, and neither side
may keep the other waiting while it waits for the network.
"""

from __future__ import annotations

import json
import re
import select
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Lost

STDIN, STDOUT, STDERR, ERROR = 0, 1, 2, 3
PROTOCOL = "v4.channel.k8s.io"
PIECE = 32 * 1024
SEND_TIMEOUT = 30.0  # seconds
_AGAIN = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


@dataclass(frozen=True, slots=True)
class Ending:
    """What the error channel says at the end: an exit code, or None with the reason why there is none."""

    rc: int | None
    message: str = ""

    @staticmethod
    def read(content: bytes) -> Ending:
        """Of a `Status` of the API's (meta/v1). Anything that is none is no exit code."""
        try:
            status = json.loads(content)
            if status["status"] == "Success":
                return Ending(0)
            causes = (status.get("details") or {}).get("causes") or []
            code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), None)
            return Ending(int(code) if code is not None else None, str(status.get("message", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Ending(None, content.decode("utf-8", "replace").strip())


class Stream:
    """One exec. One thread may send while another receives."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self._socket = websocket.sock
        self._socket.setblocking(False)
        self._turn = threading.Lock()  # at the connection; never held while waiting
        self._sending = threading.Lock()  # one message after the other
        self._closed = False
        self.ending: Ending | None = None

    @staticmethod
    def open(
        url: str, headers: Mapping[str, str], tls: Mapping[str, Any], proxy: Mapping[str, Any], timeout: float
    ) -> tuple[int, str, Stream | None]:
        """(status, what was said, the stream or None). Status 0: nobody can say whether the request arrived."""
        import websocket

        try:
            opened = websocket.create_connection(
                url,
                timeout=timeout,
                sslopt=dict(tls),
                header=[f"{name}: {value}" for name, value in headers.items()],
                subprotocols=[PROTOCOL],
                suppress_origin=True,
                skip_utf8_validation=True,
                **proxy,
            )
        except websocket.WebSocketBadStatusException as e:
            return int(e.status_code), _refusal(e), None
        except (websocket.WebSocketException, OSError) as e:
            return (1 if isinstance(e, ConnectionRefusedError) else 0), str(e), None
        return 101, "", Stream(opened)

    def send(self, data: bytes) -> None:
        """Bytes for the program's standard input. Lost when they are not taken in time."""
        from websocket import ABNF

        with self._sending:
            for at in range(0, len(data), PIECE):
                piece = bytes([STDIN]) + data[at : at + PIECE]
                self._write(ABNF.create_frame(piece, ABNF.OPCODE_BINARY).format())

    def receive(self, timeout: float) -> tuple[int, bytes] | None:
        """A channel and what came on it; (ERROR, b"") at the end; None when nothing came in time."""
        import websocket

        until = time.monotonic() + timeout
        while not self._closed:
            try:
                with self._turn:
                    opcode, frame = self._websocket.recv_data_frame(True)
            except _AGAIN:
                if not self._wait(select.POLLIN, until - time.monotonic()):
                    return None
                continue
            except (websocket.WebSocketException, OSError, ValueError):
                break
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                break
            if opcode not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) or len(frame.data) < 2:
                continue
            channel, data = frame.data[0], bytes(frame.data[1:])
            if channel == ERROR:
                self.ending = Ending.read(data)
            else:
                return channel, data
        return ERROR, b""

    def close(self) -> None:
        self._closed = True
        try:
            self._socket.shutdown(2)
        except OSError:
            return  # the other end went first
        finally:
            self._socket.close()

    # --- private -----------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        until = time.monotonic() + SEND_TIMEOUT
        rest = memoryview(data)
        while rest:
            try:
                with self._turn:
                    sent = self._socket.send(rest)
                rest = rest[sent:]
            except _AGAIN:
                if not self._wait(select.POLLOUT, until - time.monotonic()):
                    raise Lost(f"what was sent was not taken within {SEND_TIMEOUT:g} s") from None
            except (OSError, ValueError) as e:
                raise Lost(f"the exec is gone: {e}") from e

    def _wait(self, what: int, timeout: float) -> bool:
        if timeout <= 0 or self._socket.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(self._socket, what)
        return bool(poll.poll(timeout * 1000))


def _refusal(error: Any) -> str:
    """What the server says in the answer to a handshake that it refuses: a `Status`, or plain text."""
    body = bytes(error.resp_body or b"")
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = re.sub(r"\s+", " ", body.decode("utf-8", "replace")).strip()
        return said[:500] or f"HTTP {error.status_code}"
