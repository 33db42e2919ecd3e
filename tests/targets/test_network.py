"""What a host sees of the network: sockets, ports, HTTP. And that the oldest Python does for all of it."""

import base64
import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ciflow.model import Exec, Http, Operation, Stat, Talk, Wait, Write
from ciflow.targets import Connection
from tests.parts.process import free_port
from tests.targets.parley import Parley

PYENV = Path.home() / ".pyenv/versions"


class Handler(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; /to/URL leads on to URL."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path == "/headers":
            self.send_header("X-Told", ",".join(sorted(name.lower() for name in self.headers)))
        self.send_header("X-Two", "a")
        self.send_header("X-Two", "b")
        self.end_headers()
        told = f"{self.command} {self.path} {self.headers.get('Authorization', '-')} ".encode() + body
        self.wfile.write(b"x" * 100_000 if self.path == "/large" else told)

    do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_http_request_gives_status_headers_and_body(host: Parley, url: str) -> None:
    reply = host(Http(url=f"{url}/a", method="PUT", body=b"\xff\n", user="me", password="pw"))
    assert (reply.ok, reply.data["status"], reply.data["headers"]["x-two"]) == (True, 200, "a, b")
    assert reply.stdout == b"PUT /a Basic " + base64.b64encode(b"me:pw") + b" \xff\n"
    missing = host(Http(url=f"{url}/missing"))
    assert (missing.ok, missing.data["status"]) == (True, 404)


def test_redirects_are_followed_as_asked_and_take_no_secret_elsewhere(host: Parley, url: str) -> None:
    other = url.replace("127.0.0.1", "localhost")
    safe = host(Http(url=f"{url}/to/{url}/b"))
    assert (safe.stdout, safe.data["url"]) == (b"GET /b - ", f"{url}/b")
    assert host(Http(url=f"{url}/to/{url}/b", follow="none")).data["status"] == 302
    assert host(Http(url=f"{url}/to/{url}/b", method="POST", body=b"x")).data["status"] == 302
    away = host(Http(url=f"{url}/to/{other}/b", headers={"Authorization": "secret"}))
    assert away.stdout == b"GET /b - "
    secrets = {"Authorization": "a", "Cookie": "b", "X-Api-Key": "c", "Accept": "text/plain"}
    there = host(Http(url=f"{url}/to/{url}/headers", headers=secrets)).data["headers"]["x-told"]
    assert {"authorization", "cookie", "x-api-key", "accept"} <= set(there.split(","))
    elsewhere = host(Http(url=f"{url}/to/{other}/headers", headers=secrets)).data["headers"]["x-told"]
    assert set(elsewhere.split(",")) - {"host", "connection", "accept-encoding", "user-agent"} == {"accept"}
    assert not host(Http(url=f"{url}/to/file:///etc/passwd")).stdout.startswith(b"root")
    assert host(Http(url="file:///etc/passwd")).errno == "EINVAL"


def test_a_body_beyond_the_limit_or_a_silent_server_is_an_error(host: Parley, url: str, tmp_path: Path) -> None:
    assert host(Http(url=f"{url}/large", limit=1000)).errno == "EFBIG"
    got = host(Http(url=f"{url}/large", dest=str(tmp_path / "f")))
    assert (got.changed, (tmp_path / "f").stat().st_size) == (True, 100_000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reply = host(Http(url=f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.3))
        assert (reply.ok, reply.errno) == (False, "ETIMEDOUT")
    gone = host(Http(url=f"http://127.0.0.1:{free_port()}/"))
    assert (gone.ok, gone.errno) == (False, "ECONNREFUSED")


@pytest.fixture
def echo(tmp_path: Path) -> Iterator[str]:
    """A UNIX socket that answers each request with its lines in reverse and a prompt, and holds the line open."""
    path = str(tmp_path / "s")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()

    def answer(peer: socket.socket) -> None:
        with peer:
            data = peer.recv(65536)
            peer.sendall(data[::-1])
            time.sleep(0.05)
            peer.sendall(b"\n> ")
            if b"stay" in data:
                time.sleep(300)

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield path
    server.close()


def test_a_socket_is_talked_to_until_its_end_or_its_prompt(host: Parley, echo: str) -> None:
    assert host(Talk(address=echo, payload=b"abc\xff")).stdout == b"\xffcba\n> "
    assert host(Talk(address=echo, payload=b"stay", end="\n> ", timeout=200)).stdout == b"yats\n> "
    late = host(Talk(address=echo, payload=b"stay", timeout=2))
    assert (late.ok, late.errno, late.stdout) == (False, "ETIMEDOUT", b"yats\n> ")
    assert host(Talk(address=echo + "x", payload=b"")).errno == "ENOENT"


def test_waiting_for_a_port_a_file_and_a_pattern(host: Parley, tmp_path: Path) -> None:
    port = free_port()
    assert host(Wait(port=port, state="stopped", timeout=60)).ok
    late = host(Wait(port=port, timeout=0.3, sleep=0.05))
    assert (late.ok, late.errno) == (False, "ETIMEDOUT")
    assert str(port) in late.error
    with socket.create_server(("127.0.0.1", port)):
        assert host(Wait(port=port, timeout=60)).ok
    log = tmp_path / "log"
    threading.Timer(0.3, lambda: log.write_text("starting\nready in 3 s\n")).start()
    reply = host(Wait(path=str(log), pattern=r"^ready in \d", timeout=60, sleep=0.05))
    assert reply.ok
    assert not host(Wait(path=str(log), state="absent", timeout=0.2)).ok


def test_a_port_is_drained_when_its_last_connection_has_ended(host: Parley) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        peer, _ = server.accept()
        assert not host(Wait(port=port, state="drained", timeout=0.3, sleep=0.05)).ok
        peer.close()
        client.close()
        assert host(Wait(port=port, state="drained", timeout=60, sleep=0.05)).ok


# --- every Python that an agent may meet


def pythons() -> list[str]:
    """Interpreters here, of 3.7 and newer, that start."""
    found = []
    for minor in range(7, 14):
        places = [
            shutil.which(f"python3.{minor}"),
            *map(str, PYENV.glob(f"3.{minor}.*/bin/python")),
        ]
        for path in filter(None, places):
            if (
                os.access(path, os.X_OK)
                and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
            ):
                found.append(path)
                break
    return found


@pytest.mark.usefixtures("own_home")
def test_every_python_from_3_7_on_will_do(talk: Callable[..., Parley], url: str, tmp_path: Path) -> None:
    tried = []
    for python in pythons():
        host = talk(Connection(python=python, connect_timeout=30.0))
        path = tmp_path / host.hello["python"]
        operations: list[Operation] = [
            Write(path=str(path), content=b"x" * 100_000, mode="0600"),
            Stat(path=str(path), hash="sha256"),
            Exec(argv=("sh", "-c", "cat; exit 0"), stdin=b"\xff" * 200_000, cwd=str(tmp_path)),
            Http(url=url),
            Wait(path=str(path), timeout=60),
        ]
        assert [host(operation).ok for operation in operations] == [True] * 5, python
        assert host(Exec(shell="sleep 9", timeout=0.2)).errno == "ETIMEDOUT"
        tried.append(host.hello["python"])
    print("tried", *tried)
    assert tried
