"""Connections that are known already: of this machine, of its APIs, and as the journal keeps them.

Quick to import: a rollback needs no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.targets import BecomeUser, Connection

LOCAL = Connection(kind="local", name="localhost")
API = Connection(kind="api", name="the controller")  # where Api operations are answered


def api_of(connection: Connection, kind: str) -> Connection:
    """Where the API of `kind` is asked by a task of a host. A host that is reached over a network may have a Docker
    daemon of its own, as in Ansible; all else is asked from the controller, whatever host asks."""
    if kind != "docker" or connection.kind == "local":
        return API
    return replace(connection, kind="api", api=connection.kind)


def connection_data(connection: Connection) -> dict[str, Any]:
    """A connection as plain values for the journal, without its passwords."""
    become = connection.become
    data = {name: getattr(connection, name) for name in _KEPT}
    data["private_keys"] = list(connection.private_keys)
    data["options"] = dict(connection.options)
    return {**data, "become": [become.user, become.method, become.flags, become.exe] if become is not None else None}


def connection_from(data: Mapping[str, Any]) -> Connection:
    """The inverse of `connection_data`."""
    become = BecomeUser(*data["become"]) if data["become"] else None
    kept = {name: data[name] for name in _KEPT}
    lists = {"private_keys": tuple(data["private_keys"]), "options": tuple(data["options"].items())}
    return Connection(**{**kept, **lists, "become": become})


_KEPT = (
    "kind",
    "name",
    "address",
    "port",
    "user",
    "private_keys",
    "common_args",
    "python",
    "connect_timeout",
    "options",
)
