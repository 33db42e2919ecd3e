"""From a host's variables to the connection that reaches it. Ansible's names, long and short."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ciflow.diagnostics import CiflowError, Refused
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope
from ciflow.lang.template import render
from ciflow.model import Become, Host
from ciflow.targets import BecomeUser, Connection

LOCAL = Connection(kind="local", name="localhost")
LOGIN_PASSWORDS = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
BECOME_PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")


def connection_for(host: Host, scope: Scope, become: Become, *, remote_user: str = "") -> Connection:
    """Where and as whom operations for `host` are executed."""
    kind = _first(scope, "ansible_connection", "connection") or host.connection
    kind = {"paramiko": "ssh", "paramiko_ssh": "ssh", "smart": "ssh"}.get(str(kind), str(kind))
    key = _first(scope, "ansible_ssh_private_key_file", "ansible_private_key_file")
    return Connection(
        kind=kind,
        name=host.name,
        address=str(_first(scope, "ansible_host", "ansible_ssh_host") or host.name) if kind != "local" else "",
        port=int(_first(scope, "ansible_port", "ansible_ssh_port") or 0),
        user=str(_first(scope, "ansible_user", "ansible_ssh_user") or remote_user),
        password=str(_first(scope, *LOGIN_PASSWORDS) or ""),
        private_keys=(os.path.expanduser(str(key)),) if key else (),  # noqa: PTH111
        common_args=" ".join(
            str(value)
            for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args")
            if (value := _first(scope, name))
        ),
        python=str(_first(scope, "ansible_python_interpreter") or "auto"),
        become=_identity(scope, become),
    )


def _identity(scope: Scope, become: Become) -> BecomeUser | None:
    asked = _first(scope, "ansible_become")
    enabled = render(become.enabled, scope) if asked is None else asked
    if enabled not in (True, "yes", "true", "True", 1):
        return None
    return BecomeUser(
        user=str(_first(scope, "ansible_become_user") or render(become.user, scope)),
        method=str(_first(scope, "ansible_become_method") or render(become.method, scope)),
        flags=str(_first(scope, "ansible_become_flags") or render(become.flags, scope) or ""),
        password=str(_first(scope, *BECOME_PASSWORDS) or ""),
    )


def passwords_of(hosts: Iterable[tuple[Layer, ...]], extra: Mapping[str, Any]) -> Iterator[str]:
    """The passwords that an inventory (its hosts' layers) and `-e` hold, whether or not a task will need them.

    One whose template asks for a fact or a lookup is left out: it is learnt when its host is connected to.
    """
    given = Layer(Level.EXTRA_VARS, extra)
    for layers in ((given,), *((given, *layers) for layers in hosts)):
        named = {name for name in (*LOGIN_PASSWORDS, *BECOME_PASSWORDS) for layer in layers if name in layer.values}
        scope = Scope(layers, render)
        for name in named:
            try:
                yield str(scope.get(name))
            except (CiflowError, Need, NeedFacts):
                continue


def _first(scope: Scope, *names: str) -> Any:
    for name in names:
        if name in scope and (value := scope.get(name)) not in (None, ""):
            return value
    return None


def connection_data(connection: Connection) -> dict[str, Any]:
    """A connection as plain values for the journal, without its passwords."""
    become = connection.become
    data = {name: getattr(connection, name) for name in _KEPT}
    data["private_keys"] = list(connection.private_keys)
    return {**data, "become": [become.user, become.method, become.flags] if become is not None else None}


def connection_from(data: Mapping[str, Any]) -> Connection:
    """The inverse of `connection_data`."""
    become = BecomeUser(*data["become"]) if data["become"] else None
    kept = {name: data[name] for name in _KEPT}
    return Connection(**{**kept, "private_keys": tuple(data["private_keys"]), "become": become})


_KEPT = ("kind", "name", "address", "port", "user", "private_keys", "common_args", "python", "connect_timeout")


def connection_by_name(name: str, inventory: tuple[str, ...]) -> Connection:
    """How an inventory says to reach a host. Raises Refused for a host that it doesn't have."""
    from ciflow.lang.files import Files
    from ciflow.lang.inventory import load_inventory

    known = load_inventory(inventory, Files.live())
    host = known.host(name)
    if host is None:
        raise Refused(f"the inventory has no host {name}", help="name the inventory with `-i`")
    layers = known.layers.get(name, (Layer(Level.INVENTORY_HOST, host.vars),))
    return connection_for(host, Scope(tuple(layers), render), Become())
