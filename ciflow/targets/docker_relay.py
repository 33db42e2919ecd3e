"""A Docker daemon on a host that is reached by a connection of ours: a socket here, each of whose connections goes on
through a pipe to that host and into the daemon's own socket there. As `docker -H ssh://` has it, with the routes, keys
and host keys of ciflow, and with nothing but Python on the host.
"""

from __future__ import annotations

import functools
import json
import secrets
import shlex
import socket
import tempfile
import threading
from urllib.parse import urlsplit

from ciflow.diagnostics import CiflowError, Refused, Unreachable
from ciflow.targets import TARGETS
from ciflow.targets.become import become_command
from ciflow.targets.connection import Connection, Pipe
from ciflow.targets.launch import PYTHONS

# Joins its stdin and stdout to the daemon. What a login prints before the mark is not the daemon's.
DIAL = """
import os,socket,sys,threading
p=sys.argv[2] or os.environ.get("DOCKER_HOST","").replace("unix://","",1) or "/var/run/docker.sock"
s=socket.socket(socket.AF_UNIX)
try:s.connect(p)
except OSError as e:sys.exit("no Docker daemon answers at "+p+": "+str(e.strerror))
os.write(1,sys.argv[1].encode()+b"\\n")
def up():
 while 1:
  d=os.read(0,65536)
  if not d:break
  s.sendall(d)
 s.shutdown(1)
threading.Thread(target=up,daemon=True).start()
while 1:
 d=s.recv(65536)
 if not d:break
 while d:d=d[os.write(1,d):]
os._exit(0)
"""
WAIT = 10.0  # seconds between two looks at a pipe that is silent
PIECE = 64 * 1024


@functools.cache
def relay_to(connection: Connection, path: str = "") -> str:
    """The address of a socket here that leads to the daemon at `path` on that host (its own default if empty)."""
    return _Relay(connection, path).url


def connection_of(url: str) -> Connection:
    """The connection that `ssh://[USER@]HOST[:PORT]` means."""
    parts = urlsplit(url)
    if not parts.hostname or parts.password:
        raise Refused(f"{url} is no daemon's address", help="write ssh://USER@HOST, and no password")
    name = parts.hostname
    return Connection(kind="ssh", name=name, address=name, port=parts.port or 0, user=parts.username or "")


class _Relay:
    """Lives as long as the process. Its socket is in a folder that only we may enter."""

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection, self._path = connection, path
        self._folder = tempfile.TemporaryDirectory(prefix="ciflow-")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{self._folder.name}/docker.sock")
        self._listening.listen()
        self.url = f"unix://{self._folder.name}/docker.sock"
        threading.Thread(target=self._accept, name=f"docker on {connection.name}", daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        """One connection, both ways, until either end closes. What stands in the way is told as HTTP would tell it."""
        with client:
            try:
                pipe = TARGETS[self._connection.kind](self._connection, self._command(mark := secrets.token_hex(12)))
            except CiflowError as error:
                return _refuse(client, error.message)
            try:
                first = _after(pipe, mark.encode() + b"\n")
                threading.Thread(target=_upwards, args=(client, pipe), daemon=True).start()
                _downwards(pipe, client, first or None)
            except Unreachable as error:
                _refuse(client, error.message)
            finally:
                pipe.close()
        return None

    def _command(self, mark: str) -> str:
        connection, become = self._connection, self._connection.become
        python = connection.python
        words = f"-c {shlex.quote(DIAL)} {mark} {shlex.quote(self._path)}"
        command = f"exec {shlex.quote(python)} {words}"
        if python == "auto":
            found = f'if command -v "$p" >/dev/null 2>&1; then exec "$p" {words}; fi'
            command = f"for p in {' '.join(PYTHONS)}; do {found}; done; echo no Python was found"
        if become is None:
            return command
        if become.password:
            raise Refused(
                f"{connection.name}: its Docker daemon can't be asked as {become.user} by a password",
                help="let the login user into the group docker, or let it become root without a password",
            )
        return f"LC_ALL=C exec {become_command(become, command, '', '')[0]}"


def _after(pipe: Pipe, mark: bytes) -> bytes:
    """What comes behind the mark. Unreachable: it never came, with what came instead."""
    seen = b""
    while mark not in seen:
        data = pipe.receive(WAIT)
        if data == b"":
            raise Unreachable(seen.decode("utf-8", "replace").strip()[-400:] or "the connection ended")
        seen += data or b""
    return seen.partition(mark)[2]


def _upwards(client: socket.socket, pipe: Pipe) -> None:
    try:
        while data := client.recv(PIECE):
            pipe.send(data)
    except (OSError, CiflowError):
        return  # the other way ends as well, and closes both
    pipe.close()


def _downwards(pipe: Pipe, client: socket.socket, data: bytes | None) -> None:
    try:
        while data != b"":
            if data:
                client.sendall(data)
            data = pipe.receive(WAIT)
    except OSError:
        return  # nobody listens any more


def _refuse(client: socket.socket, message: str) -> None:
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    try:
        client.recv(PIECE)
        client.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
    except OSError:
        return
