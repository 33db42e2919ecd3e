"""Inventories: who the hosts are, in which groups, with which variables, and which of them a pattern means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Diagnostic, Findings, Invalid
from ciflow.lang.files import Files
from ciflow.lang.groups import Group, Groups
from ciflow.lang.inventory_read import InventoryReader
from ciflow.lang.patterns import select
from ciflow.lang.scope import Layer, Level, Vars
from ciflow.model import EMPTY, Host, Template

_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Added:
    """A host that a run added, or (`grouped`) a known one that it put into groups.

    `parents` are groups of those groups. One that was only grouped is gone when a refreshed inventory no longer has it.
    """

    host: str
    groups: tuple[str, ...]
    variables: Mapping[str, Any]
    parents: tuple[str, ...] = ()
    grouped: bool = False


@dataclass(frozen=True)
class Inventory:
    """Hosts in order, groups with all their hosts (those of their children too), and each host's layers."""

    hosts: tuple[Host, ...]
    groups: Mapping[str, tuple[str, ...]]
    layers: Mapping[str, tuple[Layer, ...]]  # by host, winner first: the levels from inventory to host_vars
    directory: str = ""
    tree: Mapping[str, Group] = field(default_factory=dict, compare=False)  # with children and the hosts they name
    files: Files = field(default_factory=Files.live, compare=False)

    def unlisted(self, name: str) -> Host:
        """A host that no source names, as a task may be delegated to: reached by its name, with what all hosts have."""
        known = self.tree.get("all")
        return Host(name, "ssh", _merged(tuple(known.layers)) if known is not None else EMPTY, ())

    def host(self, name: str) -> Host | None:
        """The host of that name; the implicit localhost where the inventory has none."""
        found = self._by_name.get(name)
        return self._implicit(name) if found is None and name in _LOCAL else found

    def _implicit(self, name: str) -> Host:
        """The implicit localhost: in no group, and yet with the variables of `all` and its host_vars, as in Ansible."""
        host = implicit(name)
        return replace(host, vars=_merged(self.layers["localhost"])) if "localhost" in self.layers else host

    @property
    def _by_name(self) -> Mapping[str, Host]:
        cached: Mapping[str, Host] | None = self.__dict__.get("_names")
        if cached is None:
            cached = {host.name: host for host in self.hosts}
            self.__dict__["_names"] = cached
        return cached

    def group_map(self) -> dict[str, list[str]]:
        """`groups`: every group's hosts by name, with `all` and `ungrouped`."""
        return {name: list(members) for name, members in self.groups.items()}

    def select(self, pattern: str, limit: str = "") -> tuple[Host, ...]:
        """Hosts that match the pattern and, if given, the limit. A name unknown to both selects nothing."""
        hosts = self._select(pattern)
        if limit:
            kept = {host.name for host in self._select(limit)}
            hosts = tuple(host for host in hosts if host.name in kept)
        return hosts

    def _select(self, pattern: str) -> tuple[Host, ...]:
        names, unknown = self._matched(pattern)
        local = [self._implicit(term) for term in unknown if term in _LOCAL]
        return tuple(self._by_name[name] for name in names) + tuple(local)

    def unknown(self, pattern: str) -> tuple[str, ...]:
        """Terms of the pattern that name no host and no group."""
        return tuple(term for term in self._matched(pattern)[1] if term not in _LOCAL)

    def fault(self, pattern: str) -> str:
        """Why a pattern can't be used, or "": only its regular expressions may be none, or take too long."""
        if "~" not in pattern:
            return ""
        known: dict[str, str] = self.__dict__.setdefault("_faults", {})
        if pattern not in known:
            try:
                self._matched(pattern)
                known[pattern] = ""
            except Invalid as fault:
                known[pattern] = fault.message
        return known[pattern]

    def _matched(self, pattern: str) -> tuple[list[str], list[str]]:
        """As `select`. Raises Invalid, without a place, for a pattern that is none."""
        try:
            return select(pattern, [host.name for host in self.hosts], self.groups, self._lines)
        except ValueError as error:
            raise Invalid([Diagnostic("error", "CF0602", str(error), None)]) from error

    def _lines(self, path: str) -> list[str]:
        return self.files.read(path).decode("utf-8", "replace").splitlines()


def implicit(name: str) -> Host:
    """The controller itself, which every inventory has without naming it."""
    return Host(name, "local", {"ansible_connection": "local"})


def load_inventory(
    sources: tuple[str, ...], files: Files, *, playbook_dir: str = "", added: tuple[Added, ...] = ()
) -> Inventory:
    """The inventory of files, folders, scripts and lists (`a,b,`). Raises Invalid with every fault."""
    findings = Findings()
    inventory = read_inventory(sources, files, findings, playbook_dir=playbook_dir, added=added)
    if findings.errors:
        raise Invalid(findings.items, files.sources())
    return inventory


def read_inventory(
    sources: tuple[str, ...],
    files: Files,
    findings: Findings,
    *,
    playbook_dir: str = "",
    added: tuple[Added, ...] = (),
) -> Inventory:
    """The inventory as far as it can be read; faults go to `findings`. `added` is what a run made beside it."""
    reader = InventoryReader(files, findings)
    folders = [reader.source(source) for source in sources]
    for one in added:
        if not one.grouped or one.host in reader.groups.hosts or one.host == "localhost":
            reader.add(one.host, one.groups, one.variables, one.parents)
    reader.groups.reconcile()
    for folder in filter(None, folders):
        reader.beside(folder, Level.INVENTORY_GROUP_VARS_ALL, Level.INVENTORY_GROUP_VARS, Level.INVENTORY_HOST_VARS)
    if playbook_dir:
        reader.beside(playbook_dir, Level.PLAYBOOK_GROUP_VARS_ALL, Level.PLAYBOOK_GROUP_VARS, Level.PLAYBOOK_HOST_VARS)
    groups = reader.groups
    layers = {name: _layers(name, groups) for name in groups.hosts}
    members = {name: groups.hosts_of(name) for name in groups.by_name}
    hosts = tuple(_host(name, groups, layers[name]) for name in members["all"])
    if "localhost" not in layers:
        itself = Layer(Level.INVENTORY_HOST, Vars(implicit("localhost").vars, label="localhost"), data=True)
        local = [*reader.local, itself, *groups.by_name["all"].layers]
        layers["localhost"] = tuple(sorted(local, key=lambda layer: -layer.level))
    directory = sources[0].rpartition("/")[0] if sources and "," not in sources[0] else ""
    return Inventory(hosts, members, layers, directory, groups.by_name, files)


def _layers(name: str, groups: Groups) -> tuple[Layer, ...]:
    """A host's variables, winner first: its own, then its groups', deepest first, each level as Ansible orders it."""
    found = list(groups.hosts[name])
    for group in reversed(groups.order_of(name)):
        found.extend(groups.by_name[group].layers)
    return tuple(sorted(found, key=lambda layer: -layer.level))  # stable: within a level the deepest stays first


def _host(name: str, groups: Groups, layers: tuple[Layer, ...]) -> Host:
    merged = _merged(layers)
    connection = merged.get("ansible_connection", merged.get("connection", "ssh"))
    named = "ssh" if isinstance(connection, Template) else str(connection)
    own = tuple(group for group in groups.order_of(name) if group != "all")
    return Host(name, named, merged or EMPTY, own or ("ungrouped",))


def _merged(layers: tuple[Layer, ...]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged.update(layer.values)
    return merged


__all__ = ["Group", "Inventory", "implicit", "load_inventory", "read_inventory"]
