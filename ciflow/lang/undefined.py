"""Names that nothing can define, found before anything runs; nearest names and their places with them.

An error only where the name is read in any case. Under a condition it is a warning, since the condition may be what
keeps the name from being read. Names that are tested for being defined, or have a default, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

from ciflow.diagnostics import Diagnostic, Span
from ciflow.lang.known import Known
from ciflow.lang.names import templates_in
from ciflow.lang.near import did_you_mean
from ciflow.lang.roles import flat, walk
from ciflow.lang.shapes import OF_A_ROLLOUT, Shape, lacks, of_matrix, of_plays, of_questions, of_rollout
from ciflow.lang.simple import FUNCTIONS
from ciflow.lang.sources import Sources
from ciflow.lang.template import member_span, name_span, names_of
from ciflow.model import Canary, Play, Playbook, Task, Template

Label = str | Callable[[], str]
Chain = tuple[tuple[str, Span | None], ...]


class Undefined:
    """Walks plays and tasks, follows variables to the templates they hold, reports each place once."""

    def __init__(self, playbook: Playbook, known: Known, sources: Sources) -> None:
        self.playbook = playbook
        self.known = known
        self.sources = sources
        self._seen: set[tuple[Span, str]] = set()
        self._worth: frozenset[int] = frozenset()
        self._shapes: dict[str, Any] = {}

    def check(self, files: dict[int, Template], templated: frozenset[int]) -> None:
        """`files` are the templates that tasks render, by the task's id(); `templated` the ids of tasks that have any
        themselves."""
        self._worth = templated | files.keys()
        for play in self.playbook.plays:
            self._play(play, files)

    def _play(self, play: Play, files: dict[int, Template]) -> None:
        guarded = self._guarded(play)
        sometimes = bool(play.when)
        where: Chain = ((play.name, play.span),)
        self._shapes = self._but_own({**of_plays(self.playbook), **of_matrix(play)})
        for value in (play.hosts, play.when, play.approval.prompt if play.approval else None):
            self._value(value, guarded, False, where)
        if play.canary is not None:
            self._canary(play.canary, guarded, sometimes, where)
            self._shapes |= self._but_own(of_rollout(play.canary))
        elif "canary" in play.spans:  # a faulty one, and nobody knows what is in its slots
            self._shapes |= dict.fromkeys(OF_A_ROLLOUT)
        left = [(one.name, one.path, one.key, one.digest) for one in play.artifacts]
        self._value([play.outputs, left], guarded, sometimes, where)
        surely = play.tasks + (play.canary.verify if play.canary else ())
        for task, perhaps in walk(surely, sometimes):
            if id(task) in self._worth:
                self._task(task, perhaps, guarded, play, files)
        for task in flat(play.handlers + (play.canary.retire if play.canary else ())):
            if id(task) in self._worth:
                self._task(task, True, guarded, play, files)

    def _canary(self, canary: Canary, guarded: frozenset[str], perhaps: bool, where: Chain) -> None:
        for value in (canary.service, canary.version, canary.router[1]):
            self._value(value, guarded, perhaps, where)
        before = self._shapes
        self._shapes = before | self._but_own(of_questions(canary))
        self._value(canary.gates, guarded, perhaps, where)
        self._shapes = before

    def _but_own(self, shapes: Shape) -> dict[str, Any]:
        """Without what is known of a name that something of the playbook's has too."""
        return {name: None if name in self.known.values else inside for name, inside in shapes.items()}

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
        if not names.free.isdisjoint(self._shapes):
            self._members(one, guarded, perhaps, used)
        for name in sorted(names.free - guarded - names.guarded):
            sure = name in names.sure and not perhaps
            if name not in self.known and name not in FUNCTIONS and name not in self._shapes:
                self._report(one, name, sure, used)
            elif name not in through:
                self._follow(name, guarded, not sure or self.known.open, used, (*through, name))

    def _follow(self, name: str, guarded: frozenset[str], perhaps: bool, used: Chain, through: Sequence[str]) -> None:
        """Into the variable's own templates, where only one place sets it."""
        values = self.known.values.get(name, ())
        if len(values) == 1:
            for below in templates_in(values[0][0]):
                self._template(below, guarded, perhaps, used, through)

    def _members(self, one: Template, guarded: frozenset[str], perhaps: bool, used: Chain) -> None:
        """What it reads of names of which is known what is in them."""
        known = {name: inside for name, inside in self._shapes.items() if name not in guarded}
        for lack in lacks(one, known):
            owner, last = ".".join(lack.path[:-1]), lack.path[-1]
            otherwise = f"it has {', '.join(lack.known)}" if lack.known else f"there is nothing in `{owner}` here"
            label = did_you_mean(last, lack.known, otherwise=otherwise)
            span, sure = member_span(one, lack.path), lack.sure and not perhaps
            self._tell(span, ".".join(lack.path), f"`{owner}` has no `{last}`", label, sure, used)

    def _report(self, one: Template, name: str, sure: bool, used: Chain) -> None:
        message = f"`{name}` is not defined" if sure else f"`{name}` may be not defined"
        label = OF_A_ROLLOUT.get(name) or partial(self._nearest, name)
        self._tell(name_span(one, name), name, message, label, sure, used)

    def _tell(self, span: Span, what: str, message: str, label: Label, sure: bool, used: Chain) -> None:
        if (span, what) in self._seen:
            return
        self._seen.add((span, what))
        related = tuple((f"used by: {who}", place) for who, place in used if place and place.file != span.file)
        severity = "error" if sure else "warning"
        self.sources.findings.items.append(Diagnostic(severity, "CF0210", message, span, label, related=related))

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
