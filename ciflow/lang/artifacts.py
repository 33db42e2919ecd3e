"""Artifacts that tasks name, against what the plays before them leave."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from ciflow.lang.near import did_you_mean
from ciflow.lang.roles import awaited, walk
from ciflow.lang.schema import module_schema, verbs
from ciflow.lang.sources import Sources
from ciflow.model import Play, Playbook, Task, Template

_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def check_artifacts(playbook: Playbook, sources: Sources) -> None:
    """Names of artifacts that no play has left by then, nor the play itself takes. A name that only the run makes is
    left to it; so is one that a play makes with a template, where the rest of it fits."""
    for at, play in enumerate(playbook.plays):
        there = [*_left_before(play, at, playbook), *(one.name for one in play.artifacts if one.path is None)]
        patterns = [_pattern(name) for name in there]
        canary = play.canary
        nodes = play.tasks + play.handlers + ((canary.verify + canary.retire) if canary else ())
        forgiven = {id(task) for task in awaited(nodes)}
        for task, perhaps in walk(nodes, bool(play.when)):
            for argument, name in _named(task):
                if not any(re.fullmatch(pattern, name, re.DOTALL) for pattern in patterns):
                    sure = not (perhaps or task.when or task.loop or id(task) in forgiven)
                    _missing(task, argument, name, there, sources, sure=sure)


def _left_before(play: Play, at: int, playbook: Playbook) -> Iterator[Any]:
    """By the plays that may have ended by then: in a graph, any other may."""
    graph = any(one.needs is not None for one in playbook.plays)
    for other in playbook.plays if graph else playbook.plays[:at]:
        if other is not play:
            yield from (one.name for one in other.artifacts)


def _pattern(name: Any) -> str:
    if not isinstance(name, Template):
        return re.escape(str(name))
    return ".*".join(re.escape(part) for part in _EXPRESSION.split(name.source))


def _named(task: Task) -> Iterator[tuple[str, str]]:
    """Arguments that name an artifact, as far as they are written out."""
    for argument in _naming(task.module):
        value = task.args.get(argument)
        if isinstance(value, str):
            yield argument, value


@functools.cache
def _naming(module: str) -> tuple[str, ...]:
    fields = module_schema(module).fields if module in verbs() else {}
    return tuple(name for name, rules in fields.items() if (rules.get("meta") or {}).get("names") == "artifact")


def _missing(task: Task, argument: str, name: str, there: list[Any], sources: Sources, *, sure: bool) -> None:
    names = [one for one in there if isinstance(one, str)]
    tell = sources.findings.error if sure else sources.findings.warning
    otherwise = f"there are: {', '.join(names)}" if names else "by `artifacts` a play says what it leaves"
    tell("CF0310", f"no play before leaves an artifact `{name}`", task.spans.get(argument) or task.span,
         label=did_you_mean(name, names, otherwise=otherwise))  # fmt: skip
