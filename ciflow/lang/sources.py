"""The documents a playbook is made of, each parsed once, and the findings about all of them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Diagnostic, Findings, Invalid, Span
from ciflow.lang.files import Files
from ciflow.lang.place import Place
from ciflow.lang.scope import Level, Need, NeedFacts, Scope, Vars
from ciflow.lang.yamltext import BOOLEANS_1_1, parse
from ciflow.model import Task, Template

VARIABLES = ("", ".yml", ".yaml", ".json")  # how the names of files of variables end


@dataclass(frozen=True, slots=True)
class RoleCall:
    """One use of a role: which entry point, with what (nearest first), where."""

    role: str
    path: str  # its folder
    entry: str
    specs: Mapping[str, Any]
    given: tuple[Mapping[str, Any], ...]
    span: Span | None


@dataclass(slots=True)
class Sources:
    """Files, findings, and where roles are looked for. `folder` is the playbook's."""

    files: Files
    folder: str
    roles_path: tuple[str, ...] = ()
    findings: Findings = field(default_factory=Findings)
    role_calls: list[RoleCall] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)  # folders of the roles that were read
    lost: list[Place] = field(default_factory=list)  # tasks so faulty that they are not in the model
    scope: Scope | None = None  # of what is known before the run: extra variables, those of playbook and play
    _parsed: dict[str, Place | None] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def document(self, path: str) -> Place | None:
        """The file's root place; None where it can't be parsed (which is found once)."""
        if path not in self._parsed:
            self._parsed[path] = self._parse(path)
        return self._parsed[path]

    def _parse(self, path: str) -> Place | None:
        try:
            content = self.files.read(path)
        except Invalid as error:
            if any(fault.code != "CF0017" for fault in error.diagnostics):
                raise
            self.findings.items.extend(error.diagnostics)
            return None
        return parse(content, path, self.findings, vault=self.files.vault)

    @contextmanager
    def inside(self, path: str, why: str, span: Span | None) -> Iterator[bool]:
        """While reading an imported file: gives False for one that imports itself; findings get the chain."""
        if path in self._open:
            chain = " -> ".join([*self._open[self._open.index(path) :], path])
            self.findings.error("CF0140", f"this file imports itself: {chain}", span)
            yield False
            return
        first = len(self.findings.items)
        self._open.append(path)
        try:
            yield True
        finally:
            self._open.pop()
            items = self.findings.items
            items[first:] = [_with(item, why, span) for item in items[first:]]

    def first(self, candidates: list[str]) -> str | None:
        """The first candidate that is a file."""
        return next((path for path in candidates if self.files.exists(path)), None)

    def tree(self, folder: str) -> list[str]:
        """Files of variables in a folder, those of folders in it among them, as Ansible chooses them: others that lie
        there are no variables."""
        found: list[str] = []
        for name in self.files.list(folder):
            path, ending = f"{folder}/{name}", posixpath.splitext(name)[1]
            if name.startswith(".") or name.endswith("~") or ending not in VARIABLES:
                continue
            if not self.files.is_dir(path):
                found.append(path)
            elif not ending:
                found += self.tree(path)
        return found

    def settle(self, place: Place, later: Collection[str] = ()) -> None:
        """Render what must be known before the run, in place: templates below `place` become values, but for those
        of keys that are rendered `later`."""
        for fields in (place.fields.items(), enumerate(place.items)):
            for key, below in fields:
                if key not in later:
                    self.settle(below, later)
                    place.value[key] = below.value
        if isinstance(place.value, Template) and self.scope is not None:
            try:
                place.value = self.known(place.value, self.scope)
            except Invalid as fault:
                self.findings.items.extend(fault.diagnostics)
            except (Need, NeedFacts):
                text = "this must be known before the run; facts and lookups other than `env` are not"
                self.findings.error("CF0101", text, place.span)

    def known(self, value: Any, scope: Scope) -> Any:
        """`value` rendered before the run, when of all lookups only `env` has an answer. Raises as rendering does."""
        from ciflow.lang.at_once import answered
        from ciflow.lang.template import render

        return answered(lambda scope: render(value, scope), scope, self.files)

    def variables(self, place: Place | None, label: str, level: Level | None = None, *, checked: bool = False) -> Vars:
        """A mapping of variables, with hints for values that YAML 1.1 and 1.2 read otherwise. `checked`: a schema tells
        where they are none."""
        if place is None or place.value is None:
            return Vars({}, label=label)
        if not isinstance(place.value, dict):
            if not checked:
                self.findings.error("CF0101", "variables are a mapping of names to values", place.span)
            return Vars({}, label=label)
        for key, below in place.fields.items():
            if not isinstance(key, str) or not key.isidentifier():
                self.findings.error("CF0101", f"`{key}` is no name of a variable", place.key_span(key),
                                    help="names have letters, digits and underscores")  # fmt: skip
            self.hints(below)
        if self.files.is_secret(place.file):
            self.files.vault.secret(place.value)
        spans = {name: below.span for name, below in place.fields.items()}
        return Vars(place.value, spans, label, level)

    def hints(self, place: Place) -> None:
        """Values of a variable, and in it, that somebody may have meant otherwise."""
        if place.text:
            self._hint(place)
        for below in place.fields.values():
            self.hints(below)
        for below in place.items:
            self.hints(below)

    def _hint(self, place: Place) -> None:
        if isinstance(place.value, bool) and place.text in BOOLEANS_1_1:
            word = str(place.value).lower()
            self.findings.hint("CF0020", f"`{place.text}` is the boolean {word} here", place.span,
                               label=f'write {word}, or quote it: "{place.text}"')  # fmt: skip
        elif _read_otherwise(place):
            self.findings.hint("CF0021", f"`{place.text}` is {_said(place.value)} here; YAML 1.1 read it otherwise",
                               place.span, label=f'quote it if text is meant: "{place.text}"')  # fmt: skip


def _read_otherwise(place: Place) -> bool:
    if isinstance(place.value, str):
        return True
    return isinstance(place.value, int) and not isinstance(place.value, bool) and place.text.lstrip("+-")[:1] == "0" \
        and place.text.lstrip("+-")[1:].isdigit()  # fmt: skip


def _said(value: Any) -> str:
    return "text" if isinstance(value, str) else f"the number {value}"


def _with(item: Diagnostic, why: str, span: Span | None) -> Diagnostic:
    return replace(item, related=(*item.related, (why, span)))


def task_folders(task: Task, playbook: str) -> tuple[str, ...]:
    """Where a task's files lie, nearest first, as Ansible documents it: in its role, in the roles that brought that,
    beside the file that the task stands in, beside the playbook. In each, in `files` or `templates` first."""
    beside = task.span.file.rpartition("/")[0] or "."
    chain = task.role_run.chain if task.role_run is not None else ()
    return tuple(dict.fromkeys(folder for folder in (task.role_path, *chain, beside, playbook or ".") if folder))


def join(folder: str, name: str) -> str:
    """`name` seen from `folder`, without a leading `./`; paths stay as short as people write them."""
    return os.path.normpath(os.path.join(folder, name))  # noqa: PTH118


def places_of_vars(folder: str, name: str) -> list[str]:
    """Where a name of `vars_files` is looked for: in `vars/` beside the playbook first, as Ansible does."""
    return [join(folder, f"vars/{name}"), join(folder or ".", name)]
