"""HTTP/1.1 as the page needs it, and no more: a listener, deadlines, limits. The owner of h11.

h11 reads and writes the protocol, strictly, and does no I/O; around it stand two hundred lines of asyncio. Neither of
the usual choices would do: Python's own `http.server` says of itself that it is not for production (its parser takes
what RFC 9112 forbids, and a client that sends one byte a minute keeps a thread), and uvicorn has no deadline for a
request that never ends, and brings an application interface, a router, a reloader and proxies' headers to be trusted or
not, of which a page with a dozen addresses needs none. Here nothing of a request is ever a path, a template or a
header of the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Refused


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take. Seconds and bytes."""

    connections: int = 256  # at once; the next is closed unread
    head: int = 16 * 1024
    body: int = 64 * 1024
    request: float = 10.0  # from its first byte to its last
    idle: float = 30.0  # between two requests
    linger: float = 2.0  # after a refusal, for a client that is still speaking
    write: float = 20.0  # until a client has taken a piece of the answer


@dataclass(frozen=True, slots=True)
class Request:
    """`path` in parts, each decoded; `headers` by lower-case names. `body` is whole."""

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """`pieces`, where they are given, are sent as they come, after `body`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    pieces: AsyncGenerator[bytes, None] | None = None


# Headers that decide something.
_ONCE = frozenset({
    "host", "origin", "authorization", "cookie", "content-type", "content-length", "transfer-encoding", "upgrade",
    "last-event-id", "sec-fetch-site", "x-ciflow", "webhook-id", "webhook-timestamp", "webhook-signature",
})  # fmt: skip
Answering: TypeAlias = Callable[[Request], Awaitable[Response]]


class Faulty(Exception):
    """A request that is none: what is said of it."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Gone(Exception):
    """The client has left, or takes nothing any more."""


def protocol() -> Any:
    """h11, which only the page needs."""
    try:
        import h11
    except ImportError as e:
        raise Refused("the page needs h11", help="pip install 'ciflow[web]'") from e
    return h11


class Listener:
    """Answers requests until it is closed."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._tls = tls
        self._open: dict[asyncio.Task[None], _Connection] = {}
        self._server: asyncio.Server | None = None
        self._answer: Answering | None = None
        self.h11 = protocol()

    async def listen(self, address: str, port: int, answering: Callable[[int], Answering]) -> int:
        """The port, which may have been 0, and which `answering` is told; what that gives never sees what is no
        request. Raises Refused where the port can't be had."""
        handshake = {"ssl_handshake_timeout": self._limits.request} if self._tls else {}
        try:
            self._server = await asyncio.start_server(
                self._accept, address, port, ssl=self._tls, limit=self._limits.head, start_serving=False, **handshake
            )
        except OSError as e:
            raise Refused(
                f"can't listen at {address}, port {port}: {e.strerror or e}", help="say another: --port"
            ) from e
        found: int = self._server.sockets[0].getsockname()[1]
        self._answer = answering(found)
        await self._server.start_serving()
        return found

    async def close(self) -> None:
        """No further request; answers that are under way are cut off."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One too many takes the place of the one that has waited longest without a whole request: nobody keeps others
        out by asking nothing."""
        if len(self._open) >= self._limits.connections:
            idlest = next((task for task, one in self._open.items() if one.waits), None)
            if idlest is None:
                writer.transport.abort()
                return
            idlest.cancel()
            del self._open[idlest]
        assert self._answer is not None
        connection = _Connection(reader, writer, self._answer, self._limits, self.h11)
        task = asyncio.get_running_loop().create_task(_talk(connection, writer, self._limits.write))
        self._open[task] = connection
        task.add_done_callback(lambda ended: self._open.pop(ended, None) and None)


async def _talk(connection: _Connection, writer: asyncio.StreamWriter, patience: float) -> None:
    """Whoever left hears no more; a rollback that it asked for goes on."""
    try:
        with contextlib.suppress(Gone, OSError, TimeoutError):
            await connection.go()
            writer.close()  # once all that was said has left
            async with asyncio.timeout(patience):
                await writer.wait_closed()
    finally:
        writer.transport.abort()


class _Connection:
    """Requests of one client, one after the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answering, limits: Limits, h11: Any
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._limits = limits
        self._h11 = h11
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head)
        self.waits = True  # for a whole request

    async def go(self) -> None:
        while True:
            try:
                request = await self._request()
            except Faulty as fault:
                await self._send(Response(fault.status, {"content-type": "text/plain"}, f"{fault}\n".encode()), False)
                await self._linger()
                return
            if request is None:
                return
            self.waits = False
            await self._send(await self._answer(request), request.method == "HEAD")
            self.waits = True
            if self._protocol.our_state is not self._h11.DONE or self._protocol.their_state is not self._h11.DONE:
                return
            self._protocol.start_next_cycle()

    async def _linger(self) -> None:
        """Take what still comes, for a while: TCP would answer it with a reset, which throws away what was said."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        async with asyncio.timeout(self._limits.linger):
            while await self._reader.read(self._limits.head):
                pass

    # --- reading -----------------------------------------------------------------------------------------

    async def _request(self) -> Request | None:
        """None where the client has nothing more to ask."""
        limits = self._limits
        if not self._protocol.trailing_data[0]:
            try:
                async with asyncio.timeout(limits.idle):
                    first = await self._reader.read(limits.head)
            except TimeoutError:
                return None
            if not first:
                return None
            self._protocol.receive_data(first)
        try:
            async with asyncio.timeout(limits.request):
                return await self._whole()
        except TimeoutError as e:
            raise Faulty(408, "the request did not come to its end") from e
        except self._h11.RemoteProtocolError as e:
            raise Faulty(e.error_status_hint or 400, "this is no request") from e

    async def _whole(self) -> Request:
        head = await self._event()
        if not isinstance(head, self._h11.Request):
            raise Gone
        headers = _headers(head.headers)
        if "transfer-encoding" in headers or "upgrade" in headers:
            raise Faulty(501, "only bodies of a length that is said are taken")
        if int(headers.get("content-length", "0")) > self._limits.body:
            raise Faulty(413, f"a body has at most {self._limits.body} bytes")
        body = bytearray()
        while not isinstance(event := await self._event(), self._h11.EndOfMessage):
            body += event.data
        return _asked(head.method.decode("ascii"), head.target.decode("ascii"), headers, bytes(body))

    async def _event(self) -> Any:
        while (event := self._protocol.next_event()) is self._h11.NEED_DATA:
            self._protocol.receive_data(await self._reader.read(self._limits.head))
        if isinstance(event, self._h11.ConnectionClosed):
            raise Gone
        return event

    # --- writing -----------------------------------------------------------------------------------------

    async def _send(self, response: Response, bare: bool) -> None:
        """`bare`: the head of the answer alone."""
        h11, headers = self._h11, dict(response.headers)
        if response.pieces is None:
            headers["content-length"] = str(len(response.body))
        if self._protocol.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            raise Gone
        plain = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        await self._write(h11.Response(status_code=response.status, headers=plain, reason=b""))
        if response.body and not bare:
            await self._write(h11.Data(data=response.body))
        if response.pieces is not None and not bare:
            async with contextlib.aclosing(response.pieces) as pieces:
                async for piece in pieces:
                    if self._reader.at_eof():
                        raise Gone
                    if piece:
                        await self._write(h11.Data(data=piece))
        await self._write(h11.EndOfMessage())

    async def _write(self, event: Any) -> None:
        data = self._protocol.send(event)
        if data:
            self._writer.write(data)
            async with asyncio.timeout(self._limits.write):
                await self._writer.drain()


def _headers(raw: Any) -> dict[str, str]:
    """By name. One that matters and comes twice is refused: two readers could take different ones for the truth."""
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("ascii")
        if key in found and key in _ONCE:
            raise Faulty(400, f"`{key}` came twice")
        found[key] = value.decode("latin-1")
    return found


def _asked(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        raise Faulty(400, "this is no address of here")
    try:
        parts = tuple(unquote(part, errors="strict") for part in path.split("/") if part)
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=16)
    except ValueError as e:
        raise Faulty(400, "this is no address of here") from e
    return Request(method, parts, dict(pairs), headers, body, target)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or later with what two PEM files hold. Raises Refused where they can't be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as e:
        raise Refused(
            f"{certificate} and {key} can't be used for TLS: {e.strerror or e}",
            help="both are PEM files: the certificate with its chain, and its key without a passphrase",
        ) from e
    return context
