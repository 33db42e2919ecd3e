"""A stand-in for the cache service of GitHub Actions, in memory: its Twirp calls, and the blobs that its URLs lead to.

The calls are those of github.actions.results.api.v1.CacheService, as the package @actions/cache has it, in protobuf;
blobs are put as Azure's Put Blob has it, in one piece.
"""

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class _Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.blobs: dict[str, bytes] = {}
        self.finished: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: _Service
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silent."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "ETag": '"1"', **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        fields = _texts(self._body())
        name = re.sub(r"\W", "", fields.get(2, ""))
        url = f"{self.server.url}crates/{name}?sv=2025-01-05&sig=stand-in"
        match self.path.rpartition("/")[2]:
            case "CreateCacheEntry":
                reply = _field(2, url) if name not in self.server.finished else b""
            case "FinalizeCacheEntryUpload":
                self.server.finished.add(name)
                reply = b"\x10\x01"
            case _:
                reply = _field(2, url) + _field(3, fields.get(2, "")) if name in self.server.finished else b""
        self._answer(200, b"\x08\x01" + reply if reply else b"", Content_Type="application/protobuf")

    def do_PUT(self) -> None:
        self.server.blobs[urlsplit(self.path).path] = self._body()
        self._answer(201)

    def do_GET(self) -> None:
        blob = self.server.blobs.get(urlsplit(self.path).path)
        if blob is None:
            self._answer(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self._answer(200, blob)
            return
        begin, end = int(asked[1]), min(int(asked[2] or len(blob) - 1), len(blob) - 1)
        self._answer(206, blob[begin : end + 1], Content_Range=f"bytes {begin}-{end}/{len(blob)}")


def _texts(message: bytes) -> dict[int, str]:
    """The fields of length-delimited type in a protobuf message, by number; their lengths are below 2^14."""
    found: dict[int, str] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + value].decode("utf-8", "replace")
            at += value
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _field(number: int, text: str) -> bytes:
    body = text.encode()
    assert len(body) < 1 << 14
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 0x7F | 0x80, len(body) >> 7])
    return bytes([number << 3 | 2]) + length + body


@contextlib.contextmanager
def actions_cache() -> Iterator[str]:
    """Gives the URL that a job knows as ACTIONS_RESULTS_URL."""
    service = _Service()
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    try:
        yield service.url
    finally:
        service.shutdown()
        service.server_close()
        thread.join()
