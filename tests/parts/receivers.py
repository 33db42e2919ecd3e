"""Receivers of notifications: a web server that answers as its path says, and a mail server."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.parts.pki import Authority


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Web:
    """A server. The first part of a path says how it answers: a status (`/500/..`), `hang`, `drip`, `reset`, `huge`,
    `away` (to another place), `twice` (503 once, then 200), `later` (429, come back in a second, once); else 200."""

    url: str
    got: list[Got] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)  # lets those go that hang
    ca: str = ""

    def of(self, path: str) -> list[Got]:
        return [one for one in self.got if one.path == path]

    def events(self, path: str) -> list[str]:
        """As what each request to a path was told."""
        return [one.json["on"] for one in self.of(path)]


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            web.got.append(Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            word, times = self.path.split("/")[1], len(web.of(self.path))
            with contextlib.suppress(OSError):
                self._answer(word, times)

        def do_GET(self) -> None:
            web.got.append(Got(f"GET {self.path}", dict(self.headers), b""))
            self._whole(200, b"ok")

        def _answer(self, word: str, times: int) -> None:
            if word == "hang":
                web.free.wait()
                self._whole(200, b"at last")
            elif word == "drip":
                while not web.free.wait(0.2):
                    self.wfile.write(b"H")
                    self.wfile.flush()
            elif word == "reset":
                self.connection.shutdown(2)
            elif word == "huge":
                self.send_response(200)
                self.end_headers()
                while not web.free.is_set():
                    self.wfile.write(b"x" * 65536)
            elif word == "away":
                self.send_response(307)
                self.send_header("Location", f"{web.url}/elsewhere")
                self.end_headers()
            elif word == "later" and times == 1:
                self._whole(429, b"slow down", **{"Retry-After": "1"})
            elif word == "twice" and times == 1:
                self._whole(503, b"not yet")
            else:
                self._whole(int(word) if word.isdecimal() else 200, b"said\x1b[31m so")

        def _whole(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Tests look at `got`."""

    return Handler


@contextlib.contextmanager
def web(certificates: Path | None = None, name: str = "127.0.0.1") -> Iterator[Web]:
    """With `certificates`, by TLS, with a certificate for `name`."""
    made = Web("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    if certificates is not None:
        authority = Authority(certificates)
        authority.leaf("web", "web", alternatives=[name])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "web.crt", certificates / "web.key")
        server.socket = context.wrap_socket(server.socket, server_side=True)
        made.url, made.ca = f"https://127.0.0.1:{server.server_port}", str(authority.ca)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.free.set()
        server.shutdown()
        server.server_close()


# --- mail ----------------------------------------------------------------------------------------------


@dataclass
class Post:
    """A mail server with STARTTLS (or TLS from the start) and one account: ann, whose password is `open sesame`."""

    port: int
    ca: str
    mails: list[Any] = field(default_factory=list)
    users: list[str] = field(default_factory=list)  # who sent each


@contextlib.contextmanager
def post_office(folder: Path, *, tls: str = "starttls", login: bool = True) -> Iterator[Post]:
    """`tls`: starttls, tls or none."""
    controller = pytest.importorskip("aiosmtpd.controller")
    from aiosmtpd.smtp import AuthResult, LoginPassword

    authority = Authority(folder)
    authority.leaf("mail", "localhost", alternatives=["localhost", "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "mail.crt", folder / "mail.key")
    office = Post(0, str(authority.ca))

    class Keeper:
        async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            office.mails.append(envelope)
            office.users.append(str(session.auth_data or ""))
            return "250 taken"

    def known(_server: Any, _session: Any, _envelope: Any, _how: str, data: LoginPassword) -> AuthResult:
        good = (data.login, data.password) == (b"ann", b"open sesame")
        return AuthResult(success=good, handled=False, auth_data="ann" if good else None)

    kind = controller.Controller
    options: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0, "ready_timeout": 60}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if tls == "tls":
        options |= {"ssl_context": context}
    if login:
        options |= {"authenticator": known, "auth_required": True, "auth_require_tls": tls == "starttls"}

    class OnAnyPort(kind):  # type: ignore[misc, valid-type]
        def _trigger_server(self) -> None:
            """The port is known only now; who asks it is a test."""
            office.port = self.server.sockets[0].getsockname()[1]
            self.port = office.port
            super()._trigger_server()

    serving = OnAnyPort(Keeper(), **options)
    serving.start()
    try:
        yield office
    finally:
        serving.stop()


def arrived(count: Any, least: int, within: float = 60.0) -> bool:
    """Whether `count()` comes to `least` in time."""
    until = time.monotonic() + within
    while count() < least and time.monotonic() < until:
        time.sleep(0.02)
    return bool(count() >= least)
