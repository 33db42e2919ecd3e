"""One HTTP/1.1 exchange as bytes, for an admin socket that is a UNIX path as well as for one that is a port."""

from __future__ import annotations


def get(path: str) -> bytes:
    """The request; the server closes after its answer, which ends it."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def body(answer: bytes) -> bytes:
    """The body of a whole answer with status 200. Raises ValueError on anything else, also on a cut one."""
    head, separator, rest = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    if not separator or not status.startswith(b"HTTP/1."):
        raise ValueError("no whole HTTP answer came")
    if status.split(b" ")[1:2] != [b"200"]:
        raise ValueError(f"it answered {status.decode('latin-1')!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _unchunk(rest)
    length = int(headers.get(b"content-length", len(rest)))
    if len(rest) < length:
        raise ValueError(f"the answer was cut at {len(rest)} of {length} bytes")
    return rest[:length]


def _unchunk(rest: bytes) -> bytes:
    """RFC 9112, section 7.1, without trailers."""
    parts: list[bytes] = []
    while True:
        line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            raise ValueError("the answer was cut in the middle")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        if len(rest) < size + 2:
            raise ValueError("the answer was cut in the middle")
        parts.append(rest[:size])
        rest = rest[size + 2 :]
