"""A form with files as the body of a request (multipart/form-data, RFC 7578)."""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import At, Context, Outcome, Probe, Read, Reply, Step
from ciflow.modules.replies import failure, well
from ciflow.modules.sources import Missing, find


@dataclass(frozen=True, slots=True)
class Form:
    """The body, and the header that says where its parts end."""

    body: bytes
    content_type: str


def form(fields: Mapping[str, Any], context: Context, *, on_the_host: bool) -> Generator[Step, Reply, Form | Outcome]:
    """Each field is a text, or {content, filename, mime_type, multipart_encoding}. A `filename` without content is
    read, from the host or from the controller as `copy` finds it."""
    parts: list[tuple[str, bytes]] = []
    for name, said in fields.items():
        field = dict(said) if isinstance(said, Mapping) else {"content": said}
        filename, content = str(field.get("filename") or ""), field.get("content")
        if content is None and not filename:
            return Outcome(failed=True, msg=f"{name}: at least one of filename or content must be provided")
        data = str(content).encode("utf-8", "surrogateescape")
        if content is None:
            read = yield from _read(filename, context, on_the_host=on_the_host)
            if isinstance(read, Outcome):
                return read
            data = read
        parts.append((_head(str(name), filename, field), _encoded(data, field)))
    digest = hashlib.sha256(b"".join(data for _, data in parts)).hexdigest()
    boundary = f"ciflow-{digest[:40]}"  # the same at each replay, and in no part but by a collision
    lines = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts]
    return Form(b"".join(lines) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}")


def _head(name: str, filename: str, field: Mapping[str, Any]) -> str:
    disposition = f'form-data; name="{_quoted(name)}"'
    if filename:
        disposition += f'; filename="{_quoted(posixpath.basename(filename))}"'
    kind = field.get("mime_type") or ("application/octet-stream" if filename else "text/plain")
    encoding = "\r\nContent-Transfer-Encoding: base64" if field.get("multipart_encoding") == "base64" else ""
    return f"Content-Disposition: {disposition}\r\nContent-Type: {kind}{encoding}"


def _quoted(name: str) -> str:
    """As browsers do (WHATWG HTML, multipart/form-data encoding algorithm)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _encoded(data: bytes, field: Mapping[str, Any]) -> bytes:
    return base64.encodebytes(data) if field.get("multipart_encoding") == "base64" else data


def _read(name: str, context: Context, *, on_the_host: bool) -> Generator[Step, Reply, bytes | Outcome]:
    if on_the_host:
        reply = yield Probe(Read(path=name))
    else:
        found = yield from find(name, context)
        if isinstance(found, Missing):
            return Outcome(failed=True, msg=str(found))
        reply = yield At("controller", Probe(Read(path=found.path)))
    return reply.stdout if well(reply) else failure(reply)
