"""The load program against a small real server: its rate is steady, its counts are right, its report is whole."""

from __future__ import annotations

import ast
import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ciflow.modules.files.load import Answer, Histogram
from ciflow.modules.load import SCRIPT

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Version: 1.2\r\n\r\nok\n"


class Small(asyncio.Protocol):
    """The least of a keep-alive server. `answer(n)` gives the bytes for request n; None ends the connection."""

    def __init__(self, answer: Callable[[int], bytes | None], seen: list[float]) -> None:
        self.answer, self.seen = answer, seen

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            self.buffer = self.buffer.partition(b"\r\n\r\n")[2]
            self.seen.append(time.monotonic())
            reply = self.answer(len(self.seen))
            if reply is None:
                self.transport.abort()
            elif reply:
                self.transport.write(reply)


@contextmanager
def serving(answer: Callable[[int], bytes | None]) -> Iterator[tuple[str, list[float]]]:
    """A server in a thread of its own: its address, and when each request came."""
    seen: list[float] = []
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Small(answer, seen), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", seen
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def load(folder: Path, url: str, rate: float, duration: float, *more: str) -> dict[str, Any]:
    report = folder / "report.json"
    argv = [sys.executable, SCRIPT, "--url", url, "--rate", str(rate), "--duration", str(duration)]
    subprocess.run([*argv, "--report", str(report), *more], check=True, timeout=180)
    return dict(json.loads(report.read_text()))


def test_the_rate_is_held_and_every_request_is_counted(tmp_path: Path) -> None:
    with serving(lambda _: OK) as (url, seen):
        told = load(tmp_path, url, 250, 3, "--version-header", "X-Version")
    assert told["sent"] == told["served"] == len(seen) == pytest.approx(750, abs=2)
    assert (told["failed"], told["errors"], told["by_status"]) == (0, {}, {"200": told["served"]})
    assert told["by_version"] == {"1.2": {"served": told["served"]}}
    assert told["state"] == "ended"
    assert seen[-1] - seen[0] > 1.5, "spread over the time, however late a busy machine begins"


def test_failures_are_counted_by_reason_and_those_of_the_server_by_status(tmp_path: Path) -> None:
    """Of each ten: one 503, one connection cut, one answer that is no HTTP; a 404 is an answer all the same."""

    def answer(number: int) -> bytes | None:
        return {
            1: b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",
            2: b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
            3: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            4: b"SSH-2.0-OpenSSH\r\n\r\n",
        }.get(number % 10, OK)

    with serving(answer) as (url, seen):
        told = load(tmp_path, url, 100, 1, "--connections", "8", "--timeout", "3")
    total = len(seen)
    assert told["by_status"]["503"] == told["by_status"]["404"] == pytest.approx(total / 10, abs=1)
    assert told["errors"]["timeout"] == pytest.approx(total / 10, abs=2), "an answer that stays half"
    assert told["errors"]["bad answer"] == pytest.approx(total / 10, abs=1)
    assert told["failed"] == told["by_status"]["503"] + sum(told["errors"].values())
    assert told["served"] + told["failed"] == told["sent"]


def test_an_old_connection_that_just_ended_costs_no_request(tmp_path: Path) -> None:
    """A server may close an idle connection at any time: the request is sent once more, on a fresh one."""
    with serving(lambda number: None if number % 7 == 0 else OK) as (url, _):
        told = load(tmp_path, url, 100, 1, "--connections", "1")
    assert told["retried"] > 0
    assert told["reconnects"] >= told["retried"]
    assert told["served"] + told["failed"] == told["sent"]
    assert told["failed"] <= 1, "one in 7 fresh ones may meet the same fate"


def test_nobody_there_is_counted_and_not_waited_for(tmp_path: Path) -> None:
    with serving(lambda _: OK) as (url, _):
        pass
    told = load(tmp_path, url, 50, 1)
    assert (told["served"], told["failed"]) == (0, told["sent"])
    assert told["errors"] == {"refused": told["sent"]}


def test_latency_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    """One connection and a server that stalls once: an honest client shows the stall in all that waited behind it."""

    def answer(number: int) -> bytes:
        if number == 50:
            time.sleep(0.5)
        return OK

    with serving(answer) as (url, _):
        told = load(tmp_path, url, 100, 1.5, "--connections", "1")
    # of 150 requests, 50 were due in that half second: who counts from when he sends sees one of them
    assert told["latency_ms"]["p95"] > 250
    assert told["latency_max_ms"] >= 490


def test_a_report_is_whole_at_any_moment_and_the_last_one_comes_at_the_end(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with serving(lambda _: OK) as (url, _):
        argv = [sys.executable, SCRIPT, "--url", url, "--rate", "100", "--report", str(report)]
        running = subprocess.Popen(argv)
        until, seen = time.monotonic() + 90, []
        while time.monotonic() < until and len({told["sent"] for told in seen}) < 3:
            if report.exists():
                seen.append(json.loads(report.read_text()))
            time.sleep(0.005)
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=90) == 0
    last = json.loads(report.read_text())
    assert len({told["sent"] for told in seen}) >= 2, "written anew each second"
    assert (last["state"], last["served"]) == ("ended", last["sent"])
    assert last["sent"] >= seen[-1]["sent"]


def test_the_program_is_one_file_that_an_old_python_understands() -> None:
    source = Path(SCRIPT).read_text()
    ast.parse(source, feature_version=(3, 7))
    imported = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names


def test_percentiles_are_within_two_percent() -> None:
    """Of 1 to 1000 ms the exact ones are 500, 950 and 990."""
    histogram = Histogram()
    for milliseconds in range(1, 1001):
        histogram.add(milliseconds / 1000)
    for share, exact in ((0.5, 500), (0.95, 950), (0.99, 990)):
        assert histogram.percentile(share) == pytest.approx(exact, rel=0.02)
    assert histogram.percentile(1.0) <= 1000


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length:  5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\n0\r\n\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
            None,
        ),
    ],
)
def test_an_answer_ends_where_http_says_wherever_it_is_cut(response: bytes, body: bytes | None) -> None:
    for cut in range(len(response)):
        answer = Answer()
        answer.feed(response[:cut])
        assert not answer.done, f"done after {cut} of {len(response)} bytes"
        answer.feed(response[cut:])
        assert answer.done
        assert answer.status in (200, 204)
        assert body is None or answer.body == body
