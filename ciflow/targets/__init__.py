"""Targets: byte pipes to places, the agent at their end, and the session that speaks to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ciflow.model import Reply
from ciflow.targets.connection import BecomeUser, Connection, Pipe

__all__ = ["APIS", "TARGETS", "BecomeUser", "Connection", "Pipe"]


def _open_local(connection: Connection, command: str) -> Pipe:
    from ciflow.targets.local import open_local

    return open_local(connection, command)


def _open_ssh(connection: Connection, command: str) -> Pipe:
    from ciflow.targets.ssh import open_ssh

    return open_ssh(connection, command)


def _open_docker(connection: Connection, command: str) -> Pipe:
    from ciflow.targets.docker import open_docker

    return open_docker(connection, command)


def _open_kubernetes(connection: Connection, command: str) -> Pipe:
    from ciflow.targets.kube_pods import open_kubernetes

    return open_kubernetes(connection, command)


# A target opens a pipe to a command run by /bin/sh at its place. Third parties extend by passing a dict of their own.
TARGETS: dict[str, Callable[[Connection, str], Pipe]] = {
    "local": _open_local,
    "ssh": _open_ssh,
    "docker": _open_docker,
    "kubernetes": _open_kubernetes,
}


def _ask_docker(request: Mapping[str, Any], stop: threading.Event) -> Reply:
    from ciflow.targets.docker import ask_docker

    return ask_docker(request, stop)


def _ask_kubernetes(request: Mapping[str, Any], stop: threading.Event) -> Reply:
    from ciflow.targets.kube_api import ask_kubernetes

    return ask_kubernetes(request, stop)


def _ask_remote(request: Mapping[str, Any], stop: threading.Event) -> Reply:
    from ciflow.targets.remote_execution import ask_remote

    return ask_remote(request, stop)


# Who answers an Api operation, by its kind: in a thread of its own, within bounded time, and soon once `stop` is set.
# A write whose answer never came is a Reply with status unknown; a CiflowError is a failure in plain words.
APIS: dict[str, Callable[[Mapping[str, Any], threading.Event], Reply]] = {
    "docker": _ask_docker,
    "kubernetes": _ask_kubernetes,
    "remote_execution": _ask_remote,
}
