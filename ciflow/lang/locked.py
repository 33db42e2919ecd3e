"""Which encrypted values a run will want and can't have, found before it starts.

Opening a value costs milliseconds, so of each file only the first value of each vault id is tried: what is wrong is the
password, and that is the same for all of them. A vault of hosts that the run leaves alone may stay shut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.inventory import Inventory
from ciflow.lang.names import templates_in
from ciflow.lang.roles import flat
from ciflow.lang.sources import Sources, places_of_vars
from ciflow.lang.vault import Encrypted, label_of
from ciflow.model import Host, Playbook


def locked(playbook: Playbook, inventory: Inventory, hosts: Iterable[Host]) -> tuple[Diagnostic, ...]:
    """The faults, one for each file and vault id: of the playbook, its roles, and the variables of `hosts`."""
    found: list[Diagnostic] = []
    tried: set[tuple[str, str]] = set()
    unique = {id(value): value for value in _values(playbook, inventory, hosts)}
    for value in unique.values():
        found += getattr(value, "locked", ())
        for one in templates_in(value):
            if isinstance(one, Encrypted) and (key := (one.span.file, label_of(one.content.encode()))) not in tried:
                tried.add(key)
                found += _fault(one)
    return tuple(dict.fromkeys(found))


def _fault(one: Encrypted) -> tuple[Diagnostic, ...]:
    try:
        one.plain()
    except Invalid as error:
        return error.diagnostics
    return ()


def _values(playbook: Playbook, inventory: Inventory, hosts: Iterable[Host]) -> Iterator[Any]:
    yield playbook.vars
    for play in playbook.plays:
        yield from (play.vars, *play.role_defaults, *play.role_vars)
        for task in flat(play.tasks + play.handlers):
            yield from (task.args, *task.vars, *task.defaults)
    yield from _of_files(playbook, Sources(inventory.files, playbook.path.rpartition("/")[0]))
    for host in hosts:
        yield from (layer.values for layer in inventory.layers.get(host.name, ()) if not layer.data)


def _of_files(playbook: Playbook, sources: Sources) -> Iterator[Any]:
    """Variables of `vars_files` that are named without a template."""
    for name in (name for play in playbook.plays for name in play.vars_files if isinstance(name, str)):
        path = sources.first(places_of_vars(sources.folder, name))
        document = sources.document(path) if path is not None else None
        if document is not None:
            yield document.value
