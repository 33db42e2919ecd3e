"""Reads inventory sources: YAML and INI files, folders of them, scripts, lists of names, group_vars and host_vars."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from types import EllipsisType
from typing import Any

from ciflow.diagnostics import Findings, Invalid, Span
from ciflow.encoding import loads
from ciflow.lang.args import words
from ciflow.lang.files import Files
from ciflow.lang.groups import Groups
from ciflow.lang.inventory_plugins import run_plugin
from ciflow.lang.patterns import MOST_HOSTS, expand_range
from ciflow.lang.place import Place, has_template
from ciflow.lang.schema import check_part
from ciflow.lang.scope import Layer, Level, Scope, Vars
from ciflow.lang.sources import VARIABLES, Sources, join
from ciflow.lang.template import render
from ciflow.model import Template

# Neither a template nor another literal: most values, told apart without Python's parser.
_WORD = re.compile(r"0|[1-9][0-9]{0,17}|(?!None\Z|True\Z|False\Z)[A-Za-z_/][\w./-]*")
_IPV6 = re.compile(r"\[(?=[^\]]*:[^\]]*:)[0-9a-fA-F:.]+\](:\d+)?(\s|\Z)")  # a host in brackets, no section
# Files of a folder of inventories that are none: those that Ansible passes by, and helpers unless they are programs.
_IGNORED = ("~", ".pyc", ".pyo", ".swp", ".bak", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry")
_HELPERS = (".sh", ".j2")


class InventoryReader:
    """Gathers groups and hosts from any number of sources; a later source adds to and beats an earlier one."""

    def __init__(self, files: Files, findings: Findings) -> None:
        self.files = files
        self.findings = findings
        self.groups = Groups()
        self.local: list[Layer] = []  # host_vars of the implicit localhost
        self._sources = Sources(files, "", findings=findings)
        self._beside: set[str] = set()

    def source(self, source: str) -> str:
        """One `-i`: a file, a folder, a script, or names with commas. Gives the folder that has its group_vars."""
        if "," in source:
            for name in filter(None, (part.strip() for part in source.split(","))):
                self._hosts(name, "all", None, {})
            return ""
        if self.files.is_dir(source):
            self._folder(source)
            folder = source
        elif self.files.exists(source):
            self._file(source)
            folder = source.rpartition("/")[0] or "."
        else:
            self.findings.error("CF0601", f"the inventory {source} is not found", None)
            return ""
        self._check_cycles(source)
        return folder

    def add(self, host: str, groups: tuple[str, ...], variables: Mapping[str, Any], parents: tuple[str, ...]) -> None:
        """A host that a run made, or put into groups. What it says is data, wherever it came from."""
        for group in groups or ("ungrouped",) * (host not in self.groups.hosts):
            self.groups.add_host(host, group)
            for parent in parents:
                self.groups.add_child(parent, group)
        if variables:
            layer = Layer(Level.INVENTORY_HOST, Vars(variables, label=f"add_host {host}"), data=True)
            self.groups.hosts[host].insert(0, layer)

    def scope_of(self, host: str) -> Scope:
        """What a template may know of a host so far, as inventory plugins ask it: its variables, name and groups."""
        groups = self.groups.order_of(host)
        names = [name for name in groups if name != "all"]
        known = {"inventory_hostname": host, "inventory_hostname_short": host.split(".")[0], "group_names": names}
        layers = [*self.groups.hosts[host]]
        for group in reversed(groups):
            layers += self.groups.by_name[group].layers
        return Scope((Layer(Level.MAGIC, known, data=True), *layers), render)

    def _check_cycles(self, source: str) -> None:
        if (cycle := self.groups.cycle()) is not None:
            self.findings.error("CF0601", f"groups contain themselves: {' -> '.join(cycle)}", Span(source))
            for group in self.groups.by_name.values():
                group.children.clear()

    def _folder(self, folder: str) -> None:
        for name in self.files.list(folder):
            path = f"{folder.rstrip('/')}/{name}"
            if name in ("group_vars", "host_vars") or name.startswith(".") or name.endswith(_IGNORED):
                continue
            if name.endswith(_HELPERS) and not self.files.is_executable(path):
                continue
            if self.files.is_dir(path):
                self._folder(path)
            else:
                self._file(path)

    def _file(self, path: str) -> None:
        content = self.files.read(path)
        if content.startswith(b"#!") and self.files.is_executable(path):
            self._script(path)
        elif path.endswith((".yml", ".yaml", ".json")) or self._looks_like_yaml(content):
            place = self._sources.document(path)
            if place is not None:
                self._yaml(place)
        else:
            self._ini(content.decode("utf-8", "replace"), path)

    def _looks_like_yaml(self, content: bytes) -> bool:
        lines = (line for line in content.decode("utf-8", "replace").splitlines() if line.strip()[:1] not in ("", "#"))
        first = next(lines, "")
        return first.startswith("---") or bool(re.match(r"[\w.-]+:\s*(#.*)?$", first))

    # --- YAML --------------------------------------------------------------------------------------------

    def _yaml(self, place: Place) -> None:
        if place.value is None:
            return
        if not isinstance(place.value, dict):
            self.findings.error("CF0601", "an inventory is a mapping of groups", place.span)
            return
        if "plugin" in place.fields:
            run_plugin(place, self)
            return
        for name, below in place.fields.items():
            self._yaml_group(str(name), below)

    def _yaml_group(self, name: str, place: Place) -> None:
        self.groups.group(name)
        if place.value is None:
            return
        if not isinstance(place.value, dict):
            self.findings.error("CF0601", f"the group `{name}` is a mapping of hosts, children and vars", place.span)
            return
        check_part("inventory", place, self.findings)
        variables = place.fields.get("vars")
        if variables is not None:
            values = self._sources.variables(variables, f"group {name}")
            self._group_variables(name, values, variables.span)
        for pattern, below in self._members(place.fields.get("hosts"), name):
            self._hosts(pattern, name, below, None)
        for child, below in self._members(place.fields.get("children"), name):
            self.groups.add_child(name, child)
            if below is not None:
                self._yaml_group(child, below)

    def _members(self, place: Place | None, _group: str) -> list[tuple[str, Place | None]]:
        if place is None or not isinstance(place.value, dict):
            return []
        return [(str(name), below) for name, below in place.fields.items()]

    def _hosts(self, pattern: str, group: str, place: Place | None, given: Mapping[str, Any] | None,
               span: Span | None = None, spans: Mapping[str, Span] | None = None) -> None:  # fmt: skip
        """Every host that a pattern of the inventory names, with its variables."""
        name, port = port_of(pattern)
        try:
            names = self._room_for(expand_range(name))
        except ValueError as error:
            self.findings.error("CF0601", str(error), span or (place.span if place else None))
            return
        values = Vars(given or {}, spans, f"host {pattern}")
        if place is not None and place.value is not None:
            values = self._sources.variables(place, f"host {pattern}")
        at_birth = Layer(Level.INVENTORY_HOST, Vars({"ansible_port": port}, label=f"host {pattern}"), data=True)
        for host in names:
            if port and host not in self.groups.hosts:  # as in Ansible, the first mention of a host says its port
                self.groups.hosts[host] = [at_birth]
            self.groups.add_host(host, group)
            if values:
                self.groups.hosts[host].insert(0, Layer(Level.INVENTORY_HOST, values))

    def _room_for(self, names: list[str]) -> list[str]:
        """The names, where the inventory still has room for them; else ValueError."""
        if len(self.groups.hosts) + len(names) > MOST_HOSTS:
            raise ValueError(f"an inventory has at most {MOST_HOSTS:,} hosts")
        return names

    # --- INI ---------------------------------------------------------------------------------------------

    def _ini(self, text: str, path: str) -> None:
        """Sections `[group]`, `[group:vars]`, `[group:children]`; hosts with `key=value` after them."""
        section, kind = "ungrouped", "hosts"
        declared = {"all", "ungrouped", *self.groups.by_name}
        asked: dict[str, Span] = {}  # groups that this file speaks of
        for number, line in enumerate(text.splitlines(), 1):
            stripped = line.strip()
            if not stripped or stripped[0] in "#;":
                continue
            span = Span(path, number, len(line) - len(line.lstrip()) + 1, number, len(line.rstrip()) + 1)
            header = re.fullmatch(r"\[([^:\]]+)(?::(\w+))?\]\s*(?:[#;].*)?", stripped)
            if header:
                section, kind = header[1].strip(), header[2] or "hosts"
                if kind not in ("hosts", "vars", "children"):
                    self.findings.error("CF0601", f"unknown kind of section `{kind}`", span, label="vars or children")
                self.groups.group(section)
                declared |= {section} if kind != "vars" else set()
                asked.setdefault(section, span)
            elif stripped[0] == "[" and not _IPV6.match(stripped):
                self.findings.error("CF0601", "this section's header has no end", span)
            elif kind == "children":
                child = stripped.split()[0]
                self.groups.add_child(section, child)
                asked.setdefault(child, span)
            elif kind == "vars":
                self._ini_variable(section, line, span)
            else:
                self._ini_host(section, line, span)

        for name, span in asked.items():
            if name not in declared:
                self.findings.error("CF0601", f"no inventory so far has a group `{name}`", span,
                                    help=f"write a section [{name}], even an empty one")  # fmt: skip

    def _ini_variable(self, section: str, line: str, span: Span) -> None:
        name, equals, value = line.partition("=")
        if not equals:
            self.findings.error("CF0601", f"`{line.strip()}` is no `name=value`", span)
            return
        start = len(line) - len(value.lstrip()) if value.strip() else len(line)
        values = Vars({name.strip(): _typed(value.strip(), span, start)}, {name.strip(): span}, f"group {section}")
        self._group_variables(section, values, span)

    def _group_variables(self, group: str, values: Vars, span: Span | None) -> None:
        """Variables that an inventory gives to a group; its priority is none of them."""
        if "ansible_group_priority" in values:
            given = values.pop("ansible_group_priority")
            try:
                self.groups.group(group).priority = int(given)
            except (TypeError, ValueError):
                self.findings.error("CF0601", f"`ansible_group_priority` is a whole number, not {given!r}", span)
        if values:
            self.groups.group(group).layers.insert(0, Layer(Level.INVENTORY_GROUP, values))

    def _ini_host(self, section: str, line: str, span: Span) -> None:
        comment = re.search(r"(?:^|\s)#", line)
        text = line[: comment.start()] if comment else line
        parts = [(start, text[start:end]) for start, end in words(text)]
        values: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        for start, word in parts[1:]:
            name, equals, value = word.partition("=")
            if not equals:
                self.findings.error("CF0601", f"`{word}` is no `name=value`", span)
                continue
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            spans[name] = own = Span(span.file, span.line, start + 1, span.line, start + len(word) + 1)
            try:
                values[name] = _typed(_unquoted(value), span, start + len(name) + 1 + quoted)
            except ValueError:
                self.findings.error("CF0601", f"a quote in the value of `{name}` has no end", own)
        self._hosts(parts[0][1], section, None, values, span, spans)

    # --- scripts -----------------------------------------------------------------------------------------

    def _script(self, path: str) -> None:
        """A program that prints the inventory as JSON (`--list`, and `--host` where it has no `_meta`)."""
        whole = self._asked(path, "--list")
        known = (whole.pop("_meta", None) or {}).get("hostvars")
        for name, below in whole.items():
            if not isinstance(below, list | dict):
                text = f"the inventory script {path}: the group `{name}` is no mapping"
                self.findings.error("CF0601", text, Span(path))
                continue
            hosts = below if isinstance(below, list) else below.get("hosts") or []
            for host in hosts:
                self.groups.add_host(str(host), name)
            if isinstance(below, dict):
                for child in below.get("children") or []:
                    self.groups.add_child(name, str(child))
                if below.get("vars"):
                    layer = Layer(Level.INVENTORY_GROUP, Vars(below["vars"], label=f"group {name}"), data=True)
                    self.groups.group(name).layers.insert(0, layer)
        for host in list(self.groups.hosts):
            values = known.get(host) if known is not None else self._asked(path, "--host", host)
            if values:
                layer = Layer(Level.INVENTORY_HOST, Vars(values, label=f"host {host}"), data=True)
                self.groups.hosts[host].insert(0, layer)

    def _asked(self, path: str, *arguments: str) -> dict[str, Any]:
        """The mapping that a script prints; a fault where it prints anything else. Nothing at all is an empty one."""
        try:
            found = loads(self.files.output(path, *arguments) or b"{}")
        except (ValueError, Invalid) as error:
            self.findings.error("CF0601", f"the inventory script {path} gave no JSON: {error}", Span(path))
            return {}
        if not isinstance(found, dict):
            self.findings.error("CF0601", f"the inventory script {path} printed no mapping", Span(path))
            return {}
        return found

    # --- group_vars and host_vars ------------------------------------------------------------------------

    def beside(self, folder: str, for_all: Level, for_groups: Level, for_hosts: Level) -> None:
        """Variables in `group_vars/` and `host_vars/` of a folder, at the levels given. Read once per level."""
        if f"{folder}|{for_groups}" in self._beside:
            return
        self._beside.add(f"{folder}|{for_groups}")
        present = {part for part in ("group_vars", "host_vars") if self.files.is_dir(join(folder, part))}
        if "group_vars" in present:
            for name, group in self.groups.by_name.items():
                level = for_all if name == "all" else for_groups
                group.layers[:0] = self._vars_files(join(folder, f"group_vars/{name}"), level, f"group {name}")
        if "host_vars" in present:
            implied = {} if "localhost" in self.groups.hosts else {"localhost": self.local}
            for name, layers in (self.groups.hosts | implied).items():
                layers[:0] = self._vars_files(join(folder, f"host_vars/{name}"), for_hosts, f"host {name}")

    def _vars_files(self, stem: str, level: Level, label: str) -> list[Layer]:
        """The layers of `stem`, `stem.yml`, .. and of every file in the folder `stem`; a later one wins."""
        paths = [stem + end for end in VARIABLES if self.files.exists(stem + end)]
        if self.files.is_dir(stem):
            paths += self._sources.tree(stem)
        return [Layer(level, self._vars_file(path, label, level)) for path in reversed(paths)]

    def _vars_file(self, path: str, label: str, level: Level) -> Vars:
        """One file's variables. An encrypted one that can't be opened is a fault only for a run that needs it."""
        try:
            self.files.read(path)
        except Invalid as error:
            if any(fault.code != "CF0017" for fault in error.diagnostics):
                raise
            return Vars({}, None, label, level, locked=error.diagnostics)
        return self._sources.variables(self._sources.document(path), label, level)


def port_of(pattern: str) -> tuple[str, int]:
    """`host:2222`, `[2001:db8::1]:2222`, or a name (an IPv6 address without brackets has no port)."""
    bracketed = re.fullmatch(r"\[([0-9a-fA-F:.]+:[0-9a-fA-F:.]*)\](?::(\d+))?", pattern)
    if bracketed and bracketed[1].count(":") > 1:
        return bracketed[1], int(bracketed[2] or 0)
    plain = re.fullmatch(r"(.*[^:\]]|.*\])(?::(\d+))", pattern)
    if plain and ":" not in re.sub(r"\[[^\]]*\]", "", plain[1]):
        return plain[1], int(plain[2])
    return pattern, 0


def _unquoted(word: str) -> str:
    """A word of a host's line without its quotes, as a POSIX shell takes them off. A template keeps those in it.
    Raises ValueError for a quote without an end."""
    if not any(mark in word for mark in "'\"\\"):
        return word
    if has_template(word) or word.endswith("\\"):
        return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word
    import shlex

    return "".join(shlex.split(word))


def _typed(text: str, span: Span, column: int) -> Any:
    """A value of an INI file: a Python literal where it is one, as in Ansible, else text, or a Template."""
    if _WORD.fullmatch(text):
        return int(text) if text.isdigit() else text
    if has_template(text):
        if text[0] in "'\"" and text.endswith(text[0]) and text.count(text[0]) == 2:
            text, column = text[1:-1], column + 1
        return Template(text, span, marks=((0, span.line, column + 1),))
    try:
        with warnings.catch_warnings(action="ignore", category=SyntaxWarning):  # of what only looks like Python
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
    return _as_data(value)


def _as_data(value: Any) -> Any:
    """A Python literal as what YAML knows: tuples and sets are lists, bytes are text, and so is all else."""
    if isinstance(value, dict):
        return {_as_data(key): _as_data(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set):
        return [_as_data(below) for below in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, complex | EllipsisType):
        return "..." if value is ... else str(value)
    return value
