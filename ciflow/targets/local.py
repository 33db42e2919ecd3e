"""The controller's own machine as a target: the agent is a child process in a session of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess

from ciflow.diagnostics import Lost
from ciflow.targets.connection import Connection
from ciflow.targets.readable import readable

SEND_TIMEOUT = 30.0  # seconds


class LocalPipe:
    """One socket pair: the child has its end as stdin, stdout and stderr."""

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", command], stdin=end, stdout=end, stderr=end, start_new_session=True
            )
        self._socket = ours
        self._socket.settimeout(SEND_TIMEOUT)  # what is received is waited for before

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as e:
            raise Lost(f"the local agent is gone: {e}") from e

    def receive(self, timeout: float) -> bytes | None:
        try:
            if not readable(self._socket, timeout):
                return None
            return self._socket.recv(256 * 1024)
        except (OSError, ValueError):  # closed by our side meanwhile
            return b""

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other end went first, or it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
        self._socket.close()
        self._process.poll()


def open_local(_connection: Connection, command: str) -> LocalPipe:
    """Start `command` by /bin/sh here, as whoever runs ciflow: as in Ansible, a user in the inventory is not heeded."""
    return LocalPipe(command)
