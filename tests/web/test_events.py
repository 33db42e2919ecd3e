"""Events as they come, to many at once, over cut connections."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from pathlib import Path

from ciflow.model import Event
from ciflow.report.jsonl import json_line
from ciflow.store.store import Store
from ciflow.web.http import Limits, Listener, Request, Response
from tests.web.server import ADA, PATIENCE, Listening, Server, serving, wait, written

PRIVATE = {"op_sent", "op_reply", "rendered", "snapshot"}


def told(server: Server) -> list[tuple[int, object]]:
    """All events of the journal that are for people, as `--json` prints them."""
    with Store.open(server.state, read_only=True) as store:
        return [(e.seq, json.loads(json_line(e))) for e in store.events() if e.kind not in PRIVATE]


def words(many: int, run: str = "R-20") -> list[Event]:
    """With what only hosts are told between them."""
    kinds = ("warning", "op_sent", "output")
    return [
        Event(kind=kinds[at % 3], run=run, data={"message": str(at), "op": "exec", "text": "x"}) for at in range(many)
    ]


def test_events_come_as_they_are_written_and_as_json_prints_them(tmp_path: Path) -> None:
    written(tmp_path / "state", words(30))
    with serving(tmp_path) as server:
        listening = Listening(server, "?after=0")
        assert listening.answer.headers["content-type"] == "text/event-stream"
        assert listening.take(20) == told(server)
        server.append(*words(3, "R-21"))
        assert listening.take(2) == told(server)[-2:]
        listening.close()


def test_only_what_is_asked_for_comes(tmp_path: Path) -> None:
    written(tmp_path / "state", [*words(30), *words(30, "R-21")])
    with serving(tmp_path) as server:
        listening = Listening(server, "?after=0&run=R-21&kinds=output")
        found = listening.take(10)
        assert {(one["run"], one["kind"]) for _, one in found} == {("R-21", "output")}
        listening.close()


def test_without_a_number_it_begins_with_what_is_new(tmp_path: Path) -> None:
    written(tmp_path / "state", words(30))
    with serving(tmp_path) as server:
        listening = Listening(server)
        assert listening.answer.readline() == b"retry: 2000\n"
        server.append(*words(1, "R-22"))
        assert [one["run"] for _, one in listening.take(1)] == ["R-22"]
        listening.close()


def test_whoever_is_cut_off_again_and_again_misses_nothing_and_hears_nothing_twice(tmp_path: Path) -> None:
    """A browser comes back by itself and says in Last-Event-ID how far it was."""
    written(tmp_path / "state", words(3))
    dice = random.Random(7)
    with serving(tmp_path) as server:
        ended = threading.Event()

        def write() -> None:
            for _ in range(25):
                server.append(*words(dice.randint(1, 40)))
            ended.set()

        writer = threading.Thread(target=write)
        writer.start()
        heard: list[tuple[int, object]] = []
        seen = 0
        until = time.monotonic() + PATIENCE
        while not ended.is_set() or heard != told(server):
            assert time.monotonic() < until, f"{len(heard)} of {len(told(server))}"
            left = len(told(server)) - len(heard)
            listening = Listening(server, "?after=0", seen=seen)
            heard += listening.take(max(1, min(left, dice.randint(1, 50)))) if left else []
            seen = heard[-1][0] if heard else 0
            listening.close()
        writer.join()
        assert heard == told(server)


def test_a_number_from_another_journal_is_no_end(tmp_path: Path) -> None:
    """The journal was moved aside, and a new one begun: a greater number than any is the newest."""
    written(tmp_path / "state", words(3))
    with serving(tmp_path) as server:
        listening = Listening(server, seen=10**17)
        listening.answer.readline()
        server.append(*words(1, "R-23"))
        assert [one["run"] for _, one in listening.take(1)] == ["R-23"]
        listening.close()


def test_fifty_clients_hear_the_same_while_the_page_is_read(tmp_path: Path) -> None:
    written(tmp_path / "state", words(3))
    with serving(tmp_path) as server:
        listeners = [Listening(server, "?after=0") for _ in range(50)]
        heard: list[list[tuple[int, object]]] = [[] for _ in listeners]
        wanted = 2 + 40 * 2

        def hear(at: int) -> None:
            heard[at] = list(listeners[at].take(wanted))

        threads = [threading.Thread(target=hear, args=(at,)) for at in range(50)]
        for one in threads:
            one.start()
        for _ in range(20):
            server.append(*words(6))
            assert server.ask("/").status == 200
        for one in threads:
            one.join(PATIENCE)
        assert all(one == told(server) for one in heard), [len(one) for one in heard]
        for listener in listeners:
            listener.close()


def test_who_asks_nothing_keeps_nobody_out(tmp_path: Path) -> None:
    """More open connections than are borne, none of which says anything, or all of it."""
    written(tmp_path / "state", words(3))
    with serving(tmp_path) as server:
        listening = Listening(server, "?after=0")
        idle = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(300)]
        for one in idle[::2]:
            one.sendall(b"GET / HTTP/1.1\r\nHost: lo")
        assert server.ask("/api/status").status == 200
        server.append(*words(1, "R-24"))
        assert listening.take(3)[-1][1]["run"] == "R-24", "who listens is no idler"
        for one in idle:
            one.close()
        listening.close()


def test_a_request_that_never_ends_is_ended_and_so_is_silence() -> None:
    """A byte now and then: each within any time for one byte, all of them not within the time for a request."""

    async def answered(_request: Request) -> Response:
        return Response(200, {}, b"well")

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET / HTTP/1.1\r\n")
        found = asyncio.ensure_future(reader.read())
        while not found.done():
            writer.write(b"X")
            await asyncio.sleep(0.02)
        writer.close()
        return found.result()

    async def go() -> None:
        listener = Listener(Limits(request=0.3, idle=0.3))
        port = await listener.listen("127.0.0.1", 0, lambda _port: answered)
        assert (await drip(*await asyncio.open_connection("127.0.0.1", port))).startswith(b"HTTP/1.1 408 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "who says nothing is not kept"
        writer.close()
        await listener.close()

    asyncio.run(asyncio.wait_for(go(), PATIENCE))


def test_a_reader_who_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    written(tmp_path / "state", [Event(kind="output", run="R-1", data={"text": "x" * 60_000}) for _ in range(300)])
    with serving(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port), PATIENCE) as deaf:
        head = f"GET /api/events?after=0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADA}\r\n\r\n"
        deaf.sendall(head.encode())
        listening = Listening(server)
        listening.answer.readline()
        server.append(*words(1, "R-25"))
        assert [one["run"] for _, one in listening.take(1)] == ["R-25"]
        assert server.ask("/").status == 200
        listening.close()


def test_a_server_that_stands_still_or_dies_holds_up_no_run(tmp_path: Path) -> None:
    """Stopped in the middle of whatever it reads, it keeps no writer waiting and no log from being folded back."""
    import signal

    written(tmp_path / "state", words(30))
    with serving(tmp_path) as server:
        listening = Listening(server, "?after=0")
        listening.take(1)
        server.running.send_signal(signal.SIGSTOP)
        for _ in range(50):
            server.append(*words(100))
        size = (server.state / "journal.db-wal").stat().st_size if (server.state / "journal.db-wal").exists() else 0
        assert size < 16_000_000
        server.running.send_signal(signal.SIGCONT)
        wait(lambda: server.ask("/api/status").status == 200, "it goes on")
        server.running.kill()
        server.append(*words(3))
        listening.close()
