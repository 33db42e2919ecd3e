"""HTTP servers whose status and latency a test switches while they serve, and the client that asks them."""

import contextlib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.parts.process import free_port


@dataclass(frozen=True)
class Answer:
    """What a server says to one request, after waiting `latency_s` seconds; status 0: nobody answered."""

    status: int = 200
    latency_s: float = 0.0
    body: str = ""


def always(status: int = 200, latency_s: float = 0.0) -> Callable[[int], Answer]:
    """Every request is answered alike."""
    return lambda _number: Answer(status, latency_s)


def every(nth: int, status: int = 500) -> Callable[[int], Answer]:
    """Each `nth` request gets `status`, the others 200: an exact share of 1/nth, no randomness."""
    return lambda number: Answer(status if number % nth == 0 else 200)


@dataclass
class Upstream:
    """A server of one version. `answer` maps a request's number (from 1) to its answer and may be replaced."""

    name: str
    port: int
    answer: Callable[[int], Answer] = field(default_factory=always)
    statuses: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/"

    @property
    def served(self) -> int:
        """Requests answered so far."""
        return len(self.statuses)

    def next(self) -> Answer:
        with self.lock:
            answer = self.answer(len(self.statuses) + 1)
            self.statuses.append(answer.status)
            return answer


def handler(upstream: Upstream) -> type[BaseHTTPRequestHandler]:
    """The class that http.server wants, bound to one upstream; the body is the version's name."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            answer = upstream.next()
            if answer.latency_s:
                time.sleep(answer.latency_s)
            body = (answer.body or upstream.name).encode()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Upstream", upstream.name)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  (http.server's own name)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: a test counts, it does not read logs."""

    return Handler


class Server(ThreadingHTTPServer):
    """Takes bursts without refusing, and does not wait for keep-alive connections at its end."""

    request_queue_size = 512
    daemon_threads = True
    block_on_close = False

    def handle_error(self, _request: object, _client: object) -> None:
        """A client that hung up is the test's business, not stderr's."""


@contextlib.contextmanager
def upstream(name: str) -> Iterator[Upstream]:
    """A server on a free loopback port, in threads of this process."""
    served = Upstream(name, free_port())
    server = Server(("127.0.0.1", served.port), handler(served))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def get(url: str, timeout_s: float = 5.0) -> Answer:
    """Ask once; a refused or broken connection is status 0, an HTTP error is its status."""
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as reply:
            return Answer(reply.status, time.monotonic() - began, reply.read().decode(errors="replace"))
    except urllib.error.HTTPError as refused:
        return Answer(refused.code, time.monotonic() - began, refused.read().decode(errors="replace"))
    except OSError:
        return Answer(0, time.monotonic() - began)


@dataclass
class Recorded:
    """A server that says the same to every request, and keeps what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def query(self) -> dict[str, str]:
        """Of the last request."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.asked[-1][1]).query).items()}


@contextlib.contextmanager
def recorded(address: str = "127.0.0.1") -> Iterator[Recorded]:
    told = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.asked.append((self.command, self.path, headers, self.rfile.read(length)))
            time.sleep(told.delay)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.url = f"http://{address}:{server.server_address[1]}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
