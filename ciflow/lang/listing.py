"""An inventory as ansible-inventory shows it: what `--list` and `--host` print as data, and `--graph` draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ciflow.lang.inventory import Inventory

Shown = Callable[[Any], Any]  # a value as people may see it


def listed(inventory: Inventory, shown: Shown) -> dict[str, Any]:
    """Ansible's JSON: groups with the hosts and children that they name, and the variables of each host."""
    hostvars = {host.name: shown(host.vars) for host in inventory.hosts if host.vars}
    groups: dict[str, Any] = {}
    for name, group in inventory.tree.items():
        hosts = list(group.hosts) if name != "all" else []
        data = {"children": sorted(group.children), "hosts": hosts}
        if kept := {key: value for key, value in data.items() if value}:
            groups[name] = kept
    return {"_meta": {"hostvars": hostvars}, **groups}


def graph(inventory: Inventory, top: str, shown: Shown, *, variables: bool) -> Iterator[str]:
    """The tree below a group, a line each, drawn as ansible-inventory draws it."""
    yield f"@{top}:"
    yield from _below(inventory, top, shown, variables, 1)


def _below(inventory: Inventory, name: str, shown: Shown, variables: bool, depth: int) -> Iterator[str]:
    group = inventory.tree[name]
    for child in sorted(group.children):
        yield f"{_lead(depth)}@{child}:"
        yield from _below(inventory, child, shown, variables, depth + 1)
    for host in group.hosts if name != "all" else ():
        yield f"{_lead(depth)}{host}"
        if variables and (found := inventory.host(host)) is not None:
            yield from _lines(shown(found.vars), depth + 1)
    if variables:
        merged = {key: value for layer in reversed(group.layers) for key, value in layer.values.items()}
        yield from _lines(shown(merged), depth)


def _lines(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, value in sorted(values.items()):
        yield f"{_lead(depth)}{{{name} = {value}}}"


def _lead(depth: int) -> str:
    return "  " + "|  " * (depth - 1) + "|--"
