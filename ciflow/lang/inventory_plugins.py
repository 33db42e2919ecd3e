"""Inventory plugins, files that say `plugin: NAME`: hosts from elsewhere, groups and variables made of what is known.

`constructed` and `generator` are Ansible's (ansible.builtin, and its documentation of 2.19); the others are ours.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import CiflowError, Invalid
from ciflow.lang.patterns import MOST_HOSTS
from ciflow.lang.place import Place
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope, Vars
from ciflow.lang.template import render
from ciflow.model import Template

if TYPE_CHECKING:
    from ciflow.lang.inventory_read import InventoryReader

SSH_CONFIG = "~/.ssh/config"


def run_plugin(place: Place, reader: InventoryReader) -> None:
    """What the file at `place` adds to the inventory so far; faults go to the reader's findings."""
    name = str(place.value["plugin"]).rpartition(".")[2]
    if name not in _PLUGINS:
        others = f"there are {', '.join(sorted(_PLUGINS))}, and scripts that print JSON"
        reader.findings.error("CF0601", f"the inventory plugin `{place.value['plugin']}` is not built",
                              place.key_span("plugin"), help=others)  # fmt: skip
        return
    plugin, known = _PLUGINS[name]
    for key in place.fields:
        if key not in ("plugin", *known):
            reader.findings.error("CF0601", f"`{name}` has no option `{key}`", place.key_span(key))
    plugin(place, reader)


# --- constructed -------------------------------------------------------------------------------------------


def _constructed(place: Place, reader: InventoryReader) -> None:
    """Variables by `compose`, groups by conditions and by the values of variables, for every host so far."""
    reader.groups.forget()
    seen = [_Host(host, place, reader) for host in reader.groups.hosts]
    reader.groups.forget()
    for one in seen:
        one.compose()
        one.join_groups()
        one.join_keyed_groups()


class _Host:
    """One host while `constructed` looks at it."""

    def __init__(self, name: str, place: Place, reader: InventoryReader) -> None:
        self.name = name
        self.place = place
        self.reader = reader
        self.strict = place.value.get("strict") is True
        self.scope = reader.scope_of(name)

    def compose(self) -> None:
        made: dict[str, Any] = {}
        for name, below in _fields(self.place, "compose"):
            for value in self._values(below):
                made[name] = value
        if made:
            self.reader.add(self.name, ("all",), made, ())
            self.scope = self.scope.child(made, Level.INVENTORY_HOST)

    def join_groups(self) -> None:
        for name, below in _fields(self.place, "groups"):
            if any(bool(value) for value in self._values(below)):
                self.reader.groups.add_host(self.name, safe(str(name)))

    def join_keyed_groups(self) -> None:
        keyed = self.place.fields.get("keyed_groups")
        for rule in keyed.items if keyed is not None else ():
            for key in self._values(rule.fields["key"]) if "key" in rule.fields else ():
                self._join(rule, key)

    def _join(self, rule: Place, key: Any) -> None:
        separator = str(rule.value.get("separator", "_"))
        prefix = str(rule.value.get("prefix", ""))
        leading = separator if prefix or self.place.value.get("leading_separator", True) else ""
        parents = [safe(str(found)) for found in self._rendered(rule.fields.get("parent_group"))]
        for bare in _names(key, rule.value, separator):
            group = safe(f"{prefix}{leading}{bare}")
            self.reader.groups.add_host(self.name, group)
            for parent in parents:
                self.reader.groups.add_child(parent, group)

    def _rendered(self, place: Place | None) -> Iterator[Any]:
        """A text that may hold templates."""
        if place is not None and isinstance(place.value, Template):
            yield from self._values(place)
        elif place is not None and place.value:
            yield place.value

    def _values(self, place: Place) -> Iterator[Any]:
        """The value of an expression; none where it can't be worked out, which is a fault only when `strict`."""
        try:
            yield render(place.expression(), self.scope)
        except (CiflowError, Need, NeedFacts) as error:
            if self.strict:
                said = getattr(error, "message", None) or str(error)
                self.reader.findings.error("CF0601", f"{self.name}: {said}", place.span)


def _names(key: Any, rule: Mapping[str, Any], separator: str) -> Iterator[str]:
    """Group names of a key's value: a text, each text of a list, or name and value of each entry of a mapping."""
    default = rule.get("default_value")
    if isinstance(key, Mapping):
        for name, value in key.items():
            if value == "" and default is None and rule.get("trailing_separator") is False:
                yield str(name)
            else:
                yield f"{name}{separator}{default if value == '' and default is not None else value}"
        return
    for one in key if isinstance(key, list | tuple) else [key]:
        if one == "" and default is not None:
            yield str(default)
        elif one not in (None, ""):
            yield str(one)


def safe(name: str) -> str:
    """A group's name with all but letters, digits and underscores replaced, as plugins do in Ansible."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


# --- generator ---------------------------------------------------------------------------------------------


def _generator(place: Place, reader: InventoryReader) -> None:
    """A host for each combination of the values in `layers`, named and grouped by the templates in `hosts`."""
    layers = place.value.get("layers") or {}
    hosts = place.fields.get("hosts")
    if math.prod(len(values) for values in layers.values()) > MOST_HOSTS:
        text = f"the layers make more than {MOST_HOSTS:,} hosts"
        reader.findings.error("CF0601", text, place.fields["layers"].span)
        return
    for combination in itertools.product(*layers.values()) if hosts is not None else ():
        scope = Scope((Layer(Level.PLAY_VARS, dict(zip(layers, combination, strict=True))),), render)
        host = str(render(hosts.value.get("name", ""), scope)) if hosts is not None else ""
        reader.add(host, ("all",), {}, ())
        _parents(host, hosts.value if hosts is not None else {}, scope, reader, of_host=True)


def _parents(name: str, node: Mapping[str, Any], scope: Scope, reader: InventoryReader, *, of_host: bool) -> None:
    for parent in node.get("parents") or ():
        group = str(render(parent.get("name", ""), scope))
        if of_host:
            reader.groups.add_host(name, group)
        else:
            reader.groups.add_child(group, name)
        values = {name: _as_known(value, scope) for name, value in (parent.get("vars") or {}).items()}
        if values:
            layer = Layer(Level.INVENTORY_GROUP, Vars(values, label=f"group {group}"))
            reader.groups.group(group).layers.insert(0, layer)
        _parents(group, parent, scope, reader, of_host=False)


# --- ssh_config --------------------------------------------------------------------------------------------


def _ssh_config(place: Place, reader: InventoryReader) -> None:
    """The hosts that an OpenSSH configuration names (ssh_config(5), `Host` without wildcards). How they are reached
    stays its own business: connections read it too."""
    import os.path

    path = os.path.expanduser(str(place.value.get("path") or SSH_CONFIG))  # noqa: PTH111
    if not reader.files.exists(path):
        reader.findings.error("CF0601", f"the file {path} is not found", place.span)
        return
    for line in reader.files.read(path).decode("utf-8", "replace").splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        for name in rest.split() if keyword.lower() == "host" else ():
            plain = name.strip('"')
            if not re.search(r"[*?!]", plain):
                reader.add(plain, (str(place.value.get("group") or "ungrouped"),), {}, ())


# --- docker ------------------------------------------------------------------------------------------------

_CONSTRUCTED = ("strict", "compose", "groups", "keyed_groups", "leading_separator")
_DOCKER = ("label", "filters", "all", "group", "docker_host", "context")


def _docker(place: Place, reader: InventoryReader) -> None:
    """Containers of a daemon, all of them in `group`; then what `constructed` does."""
    given = dict(place.value)
    labels = given.get("label") or []
    filters = {**(given.get("filters") or {}), **({"label": labels} if labels else {})}
    settings = {"filters": filters, "all": given.get("all") is True}
    settings |= {key: str(given[key]) for key in ("docker_host", "context") if given.get(key)}
    for name, variables in _listed("docker", settings, place, reader).items():
        reader.add(name, (str(given.get("group") or "containers"),), variables, ())
    if any(key in given for key in _CONSTRUCTED):
        _constructed(place, reader)


# --- kubernetes --------------------------------------------------------------------------------------------

_KUBERNETES = ("kubeconfig", "context", "namespaces", "label", "field", "container", "all", "group")


def _kubernetes(place: Place, reader: InventoryReader) -> None:
    """Pods of a cluster, all of them in `group`; then what `constructed` does."""
    given = dict(place.value)
    lists = {name: _list(given[name]) for name in ("namespaces", "label", "field") if given.get(name)}
    texts = {name: str(given[name]) for name in ("kubeconfig", "context", "container") if given.get(name)}
    settings = {**lists, **texts, "all": given.get("all") is True}
    for name, variables in _listed("kubernetes", settings, place, reader).items():
        reader.add(name, (str(given.get("group") or "pods"),), variables, ())
    if any(key in given for key in _CONSTRUCTED):
        _constructed(place, reader)


def _list(said: Any) -> list[str]:
    return [str(one) for one in said] if isinstance(said, list | tuple) else [str(said)]


def _listed(kind: str, settings: Mapping[str, Any], place: Place, reader: InventoryReader) -> dict[str, dict[str, Any]]:
    """Hosts that a target's own place knows of, by name: printed by a program of that target."""
    by = (sys.executable, "-m", "ciflow.targets.listing")
    try:
        text = reader.files.output(f"the inventory of {kind}", kind, json.dumps(settings, sort_keys=True), by=by)
    except Invalid as error:
        reader.findings.error("CF0601", error.diagnostics[0].message, place.key_span("plugin"))
        return {}
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


def _fields(place: Place, name: str) -> list[tuple[str, Place]]:
    below = place.fields.get(name)
    return [(str(key), value) for key, value in below.fields.items()] if below is not None else []


Plugin = Callable[[Place, "InventoryReader"], None]
_PLUGINS: dict[str, tuple[Plugin, tuple[str, ...]]] = {
    "constructed": (_constructed, _CONSTRUCTED),
    "docker": (_docker, (*_DOCKER, *_CONSTRUCTED)),
    "docker_containers": (_docker, (*_DOCKER, *_CONSTRUCTED)),
    "kubernetes": (_kubernetes, (*_KUBERNETES, *_CONSTRUCTED)),
    "generator": (_generator, ("layers", "hosts")),
    "ssh_config": (_ssh_config, ("path", "group")),
}


def _as_known(value: Any, scope: Scope) -> Any:
    """A value with the templates rendered that the layers suffice for; all others are rendered where a task asks."""
    if isinstance(value, Mapping):
        return {key: _as_known(below, scope) for key, below in value.items()}
    if isinstance(value, list):
        return [_as_known(below, scope) for below in value]
    try:
        return render(value, scope)
    except Invalid:
        return value
