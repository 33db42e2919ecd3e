"""Names that nothing can define, found before anything runs; nearest names and their places with them.

An error only where the name is read in any case. Under a condition it is a warning, since the condition may be what
keeps the name from being read. Names that are tested for being defined, or have a default, are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from ciflow.diagnostics import Diagnostic, Span
from ciflow.lang.known import Known
from ciflow.lang.names import templates_in
from ciflow.lang.roles import flat, walk
from ciflow.lang.simple import FUNCTIONS
from ciflow.lang.sources import Sources
from ciflow.lang.template import name_span, names_of
from ciflow.model import Node, Play, Playbook, Task, Template

Chain = tuple[tuple[str, Span | None], ...]


class Undefined:
    """Walks plays and tasks, follows variables to the templates they hold, reports each place once."""

    def __init__(self, playbook: Playbook, known: Known, sources: Sources) -> None:
        self.playbook = playbook
        self.known = known
        self.sources = sources
        self._seen: set[tuple[Span, str]] = set()
        self._worth: frozenset[int] = frozenset()

    def check(self, files: dict[int, Template], templated: frozenset[int]) -> None:
        """`files` are the templates that tasks render, by the task's id(); `templated` the ids of tasks that have any
        themselves."""
        if self.known.open:
            return
        self._worth = templated | files.keys()
        for play in self.playbook.plays:
            self._play(play, files)

    def _play(self, play: Play, files: dict[int, Template]) -> None:
        guarded = self._guarded(play)
        sometimes = bool(play.when)
        for value in (play.hosts, play.when, play.approval.prompt if play.approval else None):
            self._value(value, guarded, False, ((play.name, play.span),))
        if play.canary is not None:
            for value in (play.canary.service, play.canary.version, play.canary.router[1]):
                self._value(value, guarded, sometimes, ((play.name, play.span),))
        for task, perhaps in walk(play.tasks, sometimes):
            if id(task) in self._worth:
                self._task(task, perhaps, guarded, play, files)
        rest: tuple[Node, ...] = play.handlers + ((play.canary.verify + play.canary.retire) if play.canary else ())
        for task in flat(rest):
            if id(task) in self._worth:
                self._task(task, True, guarded, play, files)

    def _guarded(self, play: Play) -> frozenset[str]:
        """Names that an assertion of the play itself asks for."""
        asserts = [task.args for task in flat(play.tasks) if task.module in ("assert", "fail")]
        whens = [task.when for task in flat(play.tasks) if task.module == "fail"]
        found = [names_of(one).guarded for one in templates_in([*asserts, *whens])]
        return frozenset().union(*found)

    def _task(self, task: Task, perhaps: bool, guarded: frozenset[str], play: Play, files: dict[int, Template]) -> None:
        own = frozenset().union(guarded, *(names_of(one).guarded for one in templates_in(_conditions(task))))
        where: Chain = ((f"{play.name} > {_name(task)}", task.span),)
        loop = task.loop.items if task.loop is not None else None
        self._value(task.when[:1], own, perhaps or loop is not None, where)
        self._value([*task.when[1:], loop], own, perhaps or bool(task.when), where)
        perhaps = perhaps or bool(task.when) or loop is not None
        cut = perhaps or _may_be_cut(task)
        for value in (task.args, task.environment, task.changed_when, task.failed_when, task.until, task.delegate_to):
            if value:
                self._value(value, own, cut, where)
        if id(task) in files:
            self._value(files[id(task)], own, perhaps, where)

    def _value(self, value: Any, guarded: frozenset[str], perhaps: bool, used: Chain) -> None:
        for one in templates_in(value):
            self._template(one, guarded, perhaps, used, ())

    def _template(
        self, one: Template, guarded: frozenset[str], perhaps: bool, used: Chain, through: Sequence[str]
    ) -> None:
        names = names_of(one)
        for name in sorted(names.free - guarded - names.guarded):
            sure = name in names.sure and not perhaps
            if name not in self.known and name not in FUNCTIONS:
                self._report(one, name, sure, used)
            elif name not in through:
                self._follow(name, guarded, not sure, used, (*through, name))

    def _follow(self, name: str, guarded: frozenset[str], perhaps: bool, used: Chain, through: Sequence[str]) -> None:
        """Into the variable's own templates, where only one place sets it."""
        values = self.known.values.get(name, ())
        if len(values) == 1:
            for below in templates_in(values[0][0]):
                self._template(below, guarded, perhaps, used, through)

    def _report(self, one: Template, name: str, sure: bool, used: Chain) -> None:
        span = name_span(one, name)
        if (span, name) in self._seen:
            return
        self._seen.add((span, name))
        related = tuple((f"used by: {who}", place) for who, place in used if place and place.file != span.file)
        message = f"`{name}` is not defined" if sure else f"`{name}` may be not defined"
        severity = "error" if sure else "warning"
        self.sources.findings.items.append(
            Diagnostic(severity, "CF0210", message, span, partial(self._nearest, name), related=related)
        )

    def _nearest(self, name: str) -> str:
        near = get_close_matches(name, sorted(self.known.values), n=2, cutoff=0.7)
        return "nearest: " + ", ".join(f"`{one}`{self._where(one)}" for one in near) if near else ""

    def _where(self, name: str) -> str:
        for value in (self.playbook.vars, *(play.vars for play in self.playbook.plays)):
            span = getattr(value, "spans", {}).get(name)
            if span is not None:
                return f" ({span.file}:{span.line})"
        return ""


def _conditions(task: Task) -> list[Any]:
    return [task.when, task.changed_when, task.failed_when, task.until, task.args if task.module == "assert" else ()]


def _may_be_cut(task: Task) -> bool:
    """`ignore_errors` may be there just because a name is not always defined."""
    return task.ignore_errors is True or (task.module == "debug" and "var" in task.args)


def _name(task: Task) -> str:
    return task.name.source if isinstance(task.name, Template) else str(task.name)
