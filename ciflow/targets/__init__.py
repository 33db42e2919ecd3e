"""Targets: byte pipes to places, the agent at their end, and the session that speaks to it."""

from __future__ import annotations

from collections.abc import Callable

from ciflow.diagnostics import Refused
from ciflow.targets.connection import BecomeUser, Connection, Pipe

__all__ = ["TARGETS", "BecomeUser", "Connection", "Pipe"]


def _open_local(connection: Connection, command: str) -> Pipe:
    from ciflow.targets.local import open_local

    return open_local(connection, command)


def _open_ssh(connection: Connection, command: str) -> Pipe:
    from ciflow.targets.ssh import open_ssh

    return open_ssh(connection, command)


def _refuse(connection: Connection, command: str) -> Pipe:  # noqa: ARG001
    raise Refused(
        f"{connection.name}: connection: {connection.kind} is not built yet", help="use connection: ssh or local"
    )


# A target opens a pipe to a command run by /bin/sh at its place. Third parties extend by passing a dict of their own.
TARGETS: dict[str, Callable[[Connection, str], Pipe]] = {
    "local": _open_local,
    "ssh": _open_ssh,
    "docker": _refuse,
    "kubernetes": _refuse,
}
