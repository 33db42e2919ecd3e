"""How to reach a host as one identity: plain values, made by the engine from the inventory's variables."""

from __future__ import annotations

import contextlib
import resource
from typing import Protocol

from ciflow.dataclass import dataclass, field

M_ARENA_MAX = -8  # of glibc's malloc.h
OWN_DESCRIPTORS = 64  # for the journal, sources, the loop, and programs on the controller


@dataclass(frozen=True, slots=True)
class BecomeUser:
    """The identity to take on the host. `method` is sudo, su or doas; `flags` are given to it as they stand.

    `exe` is the program to use instead of the method's own: a path, or words (`sudo su -`).
    """

    user: str = "root"
    method: str = "sudo"
    flags: str = ""
    exe: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """One identity on one host. Equal connections may share a session.

    `passphrase` opens `private_keys`.
    `common_args` are options of OpenSSH's ssh (`ansible_ssh_common_args` and `ansible_ssh_extra_args`).
    `python` is a path or a name there; "auto" looks for one. `connect_timeout` in seconds, for each of: the
    connection, the login, and the agent's first word.
    `options` are what only this kind of target knows, by name. `api`, with the kind `api`, is the kind of connection
    to the host that an API is asked through or for.
    """

    kind: str = "local"
    name: str = "localhost"
    address: str = ""
    port: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    private_keys: tuple[str, ...] = ()
    passphrase: str = field(default="", repr=False)
    common_args: str = ""
    python: str = "auto"
    become: BecomeUser | None = None
    connect_timeout: float = 10.0
    options: tuple[tuple[str, str], ...] = ()
    api: str = ""

    def option(self, name: str) -> str:
        """One of `options`; "" where it is not set."""
        return dict(self.options).get(name, "")


class Pipe(Protocol):
    """A command's open stdin and stdout somewhere: all that a target is."""

    def send(self, data: bytes) -> None:
        """All of `data`; Lost when the other end does not take it in time or is gone."""

    def receive(self, timeout: float) -> bytes | None:
        """What has come; b"" at the end of the pipe; None when nothing came within `timeout` seconds."""

    def close(self) -> None:
        """Let go of both directions at once."""


class Metered:
    """A pipe that counts what goes through it."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._sent = 0
        self._received = 0
        self._told = (0, 0)

    def send(self, data: bytes) -> None:
        self._pipe.send(data)
        self._sent += len(data)

    def receive(self, timeout: float) -> bytes | None:
        data = self._pipe.receive(timeout)
        self._received += len(data or b"")
        return data

    def close(self) -> None:
        self._pipe.close()

    def moved(self) -> dict[str, int]:
        """Bytes sent and received since this was asked last, under the names of a Reply's fields."""
        now = (self._sent, self._received)
        (sent, received), self._told = self._told, now
        return {"sent": now[0] - sent, "received": now[1] - received}


def connection_cap() -> int:
    """How many connections to hold at most: 1,000, or as many as this process has descriptors for. A connection takes
    two where a program carries it, and the process itself needs some."""
    spare = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OWN_DESCRIPTORS
    return max(1, min(1000, spare // 2))


def share_arenas() -> None:
    """Let all threads of this process share two of the C library's arenas (mallopt(3), M_ARENA_MAX).

    glibc gives each of up to eight threads a core an arena of its own, and each keeps what the handshakes in it have
    freed: 5 MB at 200 hosts on two cores. It settles their number when it makes the ninth: call this before there are
    that many threads. Another C library has no such arenas, and nothing is done.
    """
    with contextlib.suppress(ImportError, AttributeError):
        import ctypes

        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
