"""A TCP proxy that mistreats what passes: it delays, halves, cuts, resets or swallows, at a chosen byte."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

Kind = Literal["cut", "reset", "stall"]
Toward = Literal["server", "client"]
CHUNK = 65536
T = TypeVar("T")


@dataclass(frozen=True)
class Break:
    """What happens to the first connection of which byte number `at` (from 0) travels `toward` that side.

    The bytes before it are delivered. `cut` ends both sides in order (FIN), `reset` with RST, and `stall` keeps
    both open while everything later vanishes: a half-open connection. A break happens once.
    """

    kind: Kind
    at: int
    toward: Toward = "client"


class Link:
    """One connection through the wire."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.stalled = False

    def end(self, kind: Kind) -> None:
        self.stalled = True
        if kind == "stall":
            return
        for writer in (self.client, self.server):
            if kind == "reset":
                linger = struct.pack("ii", 1, 0)
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                writer.close()


@dataclass
class Wire:
    """The proxy. Its fields may be changed while connections live; times are seconds, sizes bytes."""

    target: tuple[str, int]
    round_trip_s: float = 0.0
    halve: bool = False
    breaks: list[Break] = field(default_factory=list)
    address: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    passed: dict[Toward, int] = field(default_factory=lambda: {"server": 0, "client": 0})
    links: list[Link] = field(default_factory=list, repr=False)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, repr=False)

    def end_all(self, kind: Kind) -> None:
        """Cut, reset or stall every live connection now."""

        async def end() -> None:
            for link in self.links:
                link.end(kind)

        self._call(end())

    def _call(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        link = Link(writer, server_writer)
        self.connections += 1
        self.links.append(link)
        await asyncio.gather(
            self._pump(link, reader, server_writer, "server"), self._pump(link, server_reader, writer, "client")
        )
        self.links.remove(link)

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toward: Toward
    ) -> None:
        """Read at once, deliver half a round trip later: a delay costs latency, never throughput."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(link, queue, writer, toward))
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK)
            except ConnectionError:
                data = b""
            await queue.put((self.loop.time() + self.round_trip_s / 2, data))
        await delivery

    async def _deliver(
        self, link: Link, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, toward: Toward
    ) -> None:
        sent = 0
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - self.loop.time()))
            if link.stalled and data:
                continue
            if not data:
                break
            fault = self._due_break(sent, len(data), toward)
            piece = data[: fault.at - sent] if fault else data
            await self._write(writer, piece)
            sent += len(piece)
            self.passed[toward] += len(piece)
            if fault:
                self.breaks.remove(fault)
                link.end(fault.kind)
        if not link.stalled:
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()

    def _due_break(self, sent: int, size: int, toward: Toward) -> Break | None:
        return next((b for b in self.breaks if b.toward == toward and sent <= b.at < sent + size), None)

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        middle = len(data) // 2 if self.halve else 0
        with contextlib.suppress(ConnectionError):
            for piece in (data[:middle], data[middle:]):
                if piece:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001 if middle else 0)


@contextlib.contextmanager
def wire(target: tuple[str, int], round_trip_s: float = 0.0, address: str = "127.0.0.1") -> Iterator[Wire]:
    """A proxy to `target` on a free port of `address`, in a thread of its own."""
    proxy = Wire(target, round_trip_s, address=address)
    thread = threading.Thread(target=proxy.loop.run_forever, daemon=True)
    thread.start()
    server = proxy._call(asyncio.start_server(proxy._connected, address, 0))
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy._call(finish(server))
        proxy.loop.call_soon_threadsafe(proxy.loop.stop)
        thread.join()
        proxy.loop.close()


async def finish(server: asyncio.Server) -> None:
    """Stop listening and end what still runs on the loop, this coroutine excepted."""
    server.close()
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
