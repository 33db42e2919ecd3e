"""`ciflow serve` as people start it, and who asks it: by its API, by a browser's cookie, or by bytes of their own."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ciflow.model import Event
from ciflow.store.store import Store
from tests.parts import process

ADA, WALL = "ada-acts-3q2_7wEzXk0m4vT9rY1b", "wall-reads-8d1hQk2s6Zt0pLw5nV7c"
HOOK = base64.b64encode(b"a secret of thirty-two bytes! ok").decode()
TOKENS = f"# who may what\nada act {ADA}\nwall read {WALL}\njira webhook whsec_{HOOK}\n"
PATIENCE = 120.0  # seconds for anything that is waited for


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """One that runs. `said` is what it has printed for its operator."""

    url: str
    port: int
    state: Path
    log: Path
    running: subprocess.Popen[str]
    tls: ssl.SSLContext | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ask(self, path: str, token: str = ADA, *, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        """A header's name has `_` for `-`; one of no value is left out."""
        sent = {name.replace("_", "-"): value for name, value in headers.items() if value}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        connection = self.connection()
        with contextlib.closing(connection):
            connection.request(method, path, body or None, sent)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())

    def act(self, path: str, said: Mapping[str, Any] | None = None, token: str = ADA, **headers: str) -> Answer:
        body = json.dumps(said or {}).encode()
        return self.ask(path, token, method="POST", body=body, **{"Content_Type": "application/json", **headers})

    def connection(self) -> http.client.HTTPConnection:
        if self.tls is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def cookie(self, secret: str = ADA) -> str:
        """As a browser has it that followed the link."""
        found = self.ask(f"/enter?token={secret}", "")
        assert found.status == 303
        return found.headers["set-cookie"].partition(";")[0]

    def raw(self, said: bytes, *, more: bytes = b"") -> bytes:
        """All that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as one:
            one.sendall(said)
            if more:
                one.sendall(more)
            found = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := one.recv(65536):
                    found += piece
            return found

    def append(self, *events: Event) -> int:
        with Store.open(self.state) as store:
            return store.append(events)


@contextlib.contextmanager
def serving(
    folder: Path, *words: str, state: Path | None = None, tokens: str = TOKENS, env: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Server]:  # fmt: skip
    """A server on a free port. Its journal is in `state`, else in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    place, log, file = state or folder / "state", folder / "serve.log", folder / "tokens"
    argv = [sys.executable, "-m", "ciflow", "serve", "--json", "--port", "0", "--state", str(place), *words]
    if tokens:
        file.write_text(tokens)
        file.chmod(0o600)
        argv += ["--tokens", str(file)]
    with log.open("w") as said:
        running = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=said, text=True, env={**os.environ, "HOME": str(folder), **(env or {})}
        )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert line, log.read_text()
        begun = json.loads(line)
        yield Server(begun["url"], begun["port"], place, log, running, tls)
    finally:
        running.terminate()
        try:
            running.wait(60)
        finally:
            running.kill()
            running.wait()
            if running.stdout is not None:
                running.stdout.close()


def signed(body: bytes, id: str, at: float, secret: str = HOOK) -> dict[str, str]:
    """Headers of Standard Webhooks, by its specification."""
    key, stamp = base64.b64decode(secret), str(int(at))
    proof = base64.b64encode(hmac.new(key, f"{id}.{stamp}.".encode() + body, sha256).digest()).decode()
    return {"webhook_id": id, "webhook_timestamp": stamp, "webhook_signature": f"v1,{proof}"}


class Listening:
    """Server-sent events, as they come: (id, event) of each."""

    def __init__(self, server: Server, query: str = "", seen: int | None = None, token: str = ADA) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        if seen is not None:
            headers["Last-Event-ID"] = str(seen)
        self._connection = server.connection()
        self._connection.request("GET", f"/api/events{query}", headers=headers)
        self.answer = self._connection.getresponse()
        self.seen = 0

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        data = ""
        while line := self.answer.readline().decode():
            name, _, value = line.rstrip("\n").partition(": ")
            if name == "id":
                self.seen = int(value)
            elif name == "data":
                data = value
            elif not line.strip() and data:
                yield self.seen, json.loads(data)
                data = ""

    def take(self, many: int) -> list[tuple[int, dict[str, Any]]]:
        found: list[tuple[int, dict[str, Any]]] = []
        for one in self:
            found.append(one)
            if len(found) == many:
                break
        return found

    def close(self) -> None:
        self._connection.close()
        self.answer.close()


def written(state: Path, events: Sequence[Event]) -> int:
    with Store.open(state) as store:
        return store.append(events)


def wait(found: Any, what: str) -> Any:
    return process.wait_for(found, what, PATIENCE)
