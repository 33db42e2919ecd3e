"""Steady requests at a fixed rate, with a report. One file of the standard library (Python >= 3.7).

Open loop: request k is due at start + k / rate whatever became of the others, and its latency counts from then on,
so that a server that stalls can't hide it (Tene, "How NOT to measure latency"; wrk2). Connections are kept alive; a
request on a reused connection that ends without a byte of an answer is sent once more (RFC 9112, section 9.3.1).
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import math
import os
import re
import signal
import ssl
import sys
import time
from typing import Any
from urllib.parse import urlsplit

GROWTH = math.log(1.02)  # a bucket of the histogram is 2 % wide: so exact are percentiles
TICK = 0.001  # seconds; what falls due within one is sent together, so that a high rate costs few wake-ups
SWEEP = 0.05  # seconds between two looks for requests that take too long
REPORT = 1.0  # seconds between two reports
BODY_SEEN = 4096  # bytes of a body that are searched for a version
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection:[^\r\n]*close", re.IGNORECASE)


class Histogram:
    """Latencies in buckets of equal ratio: constant memory, percentiles within 2 %."""

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.total = 0
        self.greatest = 0.0

    def add(self, seconds: float) -> None:
        bucket = int(math.log(max(seconds * 1e6, 1.0)) / GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.total += 1
        self.greatest = max(self.greatest, seconds)

    def percentile(self, share: float) -> float:
        """Milliseconds that `share` (0 to 1) of the requests did not exceed."""
        wanted, seen = share * self.total, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(math.exp((bucket + 0.5) * GROWTH) / 1000, self.greatest * 1000)
        return 0.0


class Answer:
    """Reads one HTTP/1.1 response from the bytes of a connection. `done` once it is whole."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.head = b""
        self.body_at = 0
        self.length = -1  # of the body; -1: until the connection ends
        self.chunked = False
        self.done = False

    def feed(self, data: bytes) -> None:
        self.buffer += data
        while not self.head:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if self.buffer[9:10] == b"1":  # 100 Continue and its like: the answer is yet to come
                del self.buffer[: end + 4]
                continue
            self._begin(bytes(self.buffer[: end + 2]), end + 4)
        if self.chunked:
            self.done = self.buffer.endswith(b"0\r\n\r\n") and self._last_chunk()
        elif self.length >= 0:
            self.done = len(self.buffer) - self.body_at >= self.length

    def _begin(self, head: bytes, body_at: int) -> None:
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            raise ValueError("not HTTP/1")
        self.head, self.body_at = head, body_at
        self.chunked = CHUNKED.search(head) is not None
        length = LENGTH.search(head)
        if length:
            self.length = int(length.group(1))
        elif self.status in (204, 304):
            self.length = 0

    def _last_chunk(self) -> bool:
        """Walk the chunks: a body may hold what looks like the last one."""
        at = self.body_at
        while True:
            end = self.buffer.find(b"\r\n", at)
            if end < 0:
                return False
            size = int(bytes(self.buffer[at:end]).split(b";")[0], 16)
            at = end + 2 + size + 2
            if size == 0:
                return True
            if at > len(self.buffer):
                return False

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    @property
    def body(self) -> bytes:
        return bytes(self.buffer[self.body_at : self.body_at + BODY_SEEN])


class Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: Any = None
        self.answer: Answer | None = None
        self.due = 0.0
        self.used = 0
        self.retry = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.load.ready(self)

    def send(self, due: float, retry: bool = False) -> None:
        self.due, self.retry, self.answer = due, retry, Answer()
        self.load.busy.add(self)
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None:
            self.transport.abort()  # it speaks when not asked
            return
        try:
            answer.feed(data)
        except ValueError:
            self.give_up("bad answer")
            return
        if answer.done:
            self._finish(answer, CLOSE.search(answer.head) is None)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost(self)
        answer = self.answer
        if answer is None:
            return
        if answer.head and answer.length < 0 and not answer.chunked and error is None:
            self._finish(answer, keep=False)
        elif self.used and not self.retry and not answer.buffer:
            self.answer = None
            self.load.busy.discard(self)
            self.load.again(self.due)
        else:
            self.give_up("reset" if error else "closed early")

    def give_up(self, why: str) -> None:
        self.answer = None
        self.load.busy.discard(self)
        self.load.failed(why)
        self.transport.abort()

    def _finish(self, answer: Answer, keep: bool) -> None:
        self.answer = None
        self.used += 1
        self.load.busy.discard(self)
        self.load.answered(answer, self.due)
        if keep:
            self.load.ready(self)
        else:
            self.transport.close()


class Load:
    """The schedule, the connections and the counts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        url = urlsplit(options.url)
        self.host, secure = url.hostname or "", url.scheme == "https"
        self.port = url.port or (443 if secure else 80)
        self.tls: Any = self._context() if secure else None
        target = (url.path or "/") + ("?" + url.query if url.query else "")
        headers = {"Host": url.netloc.rpartition("@")[2], "User-Agent": "ciflow-load", "Accept": "*/*"}
        headers.update(header.split(":", 1) for header in options.header)
        lines = [f"{options.method} {target} HTTP/1.1"] + [f"{k}: {v.strip()}" for k, v in headers.items()]
        self.request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.version_header = self._pattern(options.version_header)
        self.version_body = re.compile(options.version_body.encode()) if options.version_body else None
        self.idle: collections.deque[Client] = collections.deque()
        self.waiting: collections.deque[tuple[float, bool]] = collections.deque()
        self.busy: set[Client] = set()
        self.open = 0  # connections there are, or on their way
        self.connected = 0
        self.sent = self.served = self.bad = self.retried = 0
        self.by_status: collections.Counter[str] = collections.Counter()
        self.errors: collections.Counter[str] = collections.Counter()
        self.versions: dict[str, collections.Counter[str]] = {}
        self.latency = Histogram()
        self.began, self.clock = time.time(), time.monotonic()
        self.stopping = asyncio.Event()
        self.tasks: set[Any] = set()
        self.state = "running"

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.options.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    @staticmethod
    def _pattern(header: str) -> Any:
        name = re.escape(header.encode("latin-1"))
        return re.compile(rb"\r\n" + name + rb":[ \t]*([^\r\n]*)", re.IGNORECASE) if header else None

    async def run(self) -> None:
        """Until told to stop, or `duration` seconds are over; then what is under way may still end."""
        self.report()
        swept = reported = self.clock
        end = self.clock + self.options.duration if self.options.duration else math.inf
        last = end - 0.5 / self.options.rate  # no request is due at the end itself
        while not self.stopping.is_set():
            now = time.monotonic()
            self._dispatch_due(min(now, last))
            if now - swept >= SWEEP:
                swept = now
                self._sweep(now)
            if now - reported >= REPORT:
                reported = now
                self.report()
            if now >= end:
                break
            await asyncio.sleep(min(max(self._due() - time.monotonic(), TICK), SWEEP))
        await self._drain()
        self.state = "ended"
        self.report()

    def _dispatch_due(self, now: float) -> None:
        while self._due() <= now:
            self.dispatch(self._due())
            self.sent += 1

    def _due(self) -> float:
        """When the next request is due, by the monotonic clock."""
        return self.clock + self.sent / float(self.options.rate)

    def dispatch(self, due: float, retry: bool = False) -> None:
        if self.idle:
            self.idle.popleft().send(due, retry)
            return
        self.waiting.append((due, retry))
        if self.open < self.options.connections:
            self.open += 1
            task = asyncio.ensure_future(self._connect())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_event_loop()
        making = loop.create_connection(lambda: Client(self), self.host, self.port, ssl=self.tls)
        try:
            await asyncio.wait_for(making, self.options.timeout)
            self.connected += 1
        except (OSError, asyncio.TimeoutError) as error:  # noqa: UP041 - two classes before Python 3.11
            self.open -= 1
            if self.waiting:
                self.waiting.popleft()
                self.failed("timeout" if isinstance(error, asyncio.TimeoutError) else _reason(error))

    async def _drain(self) -> None:
        until = time.monotonic() + self.options.timeout
        while (self.busy or self.waiting) and time.monotonic() < until:
            await asyncio.sleep(0.01)
            self._sweep(time.monotonic())
        for client in [*self.busy]:
            client.give_up("unanswered at the end")
        for _ in range(len(self.waiting)):
            self.failed("never sent")
        self.waiting.clear()

    def _sweep(self, now: float) -> None:
        for client in [c for c in self.busy if now - c.due > self.options.timeout]:
            client.give_up("timeout")
        while self.waiting and now - self.waiting[0][0] > self.options.timeout:
            self.waiting.popleft()
            self.failed("no connection in time")

    # what connections tell

    def ready(self, client: Client) -> None:
        if client.transport.is_closing():
            return
        if self.waiting:
            client.send(*self.waiting.popleft())
        else:
            self.idle.append(client)

    def lost(self, client: Client) -> None:
        self.open -= 1
        if client in self.idle:
            self.idle.remove(client)

    def again(self, due: float) -> None:
        self.retried += 1
        self.dispatch(due, retry=True)

    def answered(self, answer: Answer, due: float) -> None:
        good = answer.status < 500
        self.served, self.bad = self.served + good, self.bad + (not good)
        self.by_status[str(answer.status)] += 1
        self.latency.add(time.monotonic() - due)
        found = self.version_header.search(answer.head) if self.version_header else None
        if found is None and self.version_body:
            found = self.version_body.search(answer.body)
        if found:
            version = (found.group(1) if found.re.groups else found.group()).decode("utf-8", "replace")
            self.versions.setdefault(version, collections.Counter())["served" if good else "failed"] += 1

    def failed(self, why: str) -> None:
        self.bad += 1
        self.errors[why] += 1

    # the report

    def figures(self) -> dict[str, Any]:
        elapsed = time.monotonic() - self.clock
        shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
        return {
            "name": self.options.name,
            "url": self.options.url,
            "state": self.state,
            "pid": os.getpid(),
            "rate": self.options.rate,
            "started": self.began,
            "elapsed": round(elapsed, 3),
            "achieved_rate": round(self.sent / elapsed, 2) if elapsed > 0.1 else 0.0,
            "sent": self.sent,
            "served": self.served,
            "failed": self.bad,
            "by_status": dict(sorted(self.by_status.items())),
            "errors": dict(sorted(self.errors.items())),
            "by_version": {name: dict(counts) for name, counts in sorted(self.versions.items())},
            "latency_ms": {name: round(self.latency.percentile(share), 3) for name, share in shares.items()},
            "latency_max_ms": round(self.latency.greatest * 1000, 3),
            "connections": self.open,
            "reconnects": max(0, self.connected - min(self.options.connections, self.connected)),
            "retried": self.retried,
            "cpu": round(time.process_time(), 3),
        }

    def report(self) -> None:
        """Whole or not at all: a reader never sees half a report."""
        temporary = f"{self.options.report}.new"
        with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123 - Python 3.7, and no import for it
            json.dump(self.figures(), file)
        os.replace(temporary, self.options.report)  # noqa: PTH105


def _reason(error: OSError) -> str:
    return "refused" if isinstance(error, ConnectionRefusedError) else (error.strerror or type(error).__name__)


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--report", required=True, help="file that the report goes to")
    parser.add_argument("--name", default="load")
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[], help="Name: value")
    parser.add_argument("--connections", type=int, default=16, help="at most so many")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds; 0: until told to stop")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds that an answer may take")
    parser.add_argument("--version-header", default="", help="count answers by this header")
    parser.add_argument("--version-body", default="", help="count answers by what this pattern finds in the body")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    return parser.parse_args(argv)


async def main(argv: list[str]) -> None:
    load = Load(arguments(argv))
    loop = asyncio.get_event_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.stopping.set)
    await load.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
