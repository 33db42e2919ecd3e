"""Ansible's 22 levels of precedence, put together for one task on one host, the winner first.

Level 1 of its list (command-line values such as `-u`) are settings, not variables, and belong to the caller. No
mapping is copied: a Scope looks through the layers that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Span
from ciflow.lang.inventory import Inventory
from ciflow.lang.scope import Layer, Level, Scope
from ciflow.lang.template import render
from ciflow.lang.vault import Vault
from ciflow.model import EMPTY, Host, Play, Playbook, Reply, Task


@dataclass(slots=True)
class Learnt:
    """What a run has learnt of one host. `whole`: all of its facts have been read, and others there are none."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    set_facts: Mapping[str, Any] = field(default_factory=dict)  # set_fact and registers
    included: Mapping[str, Any] = field(default_factory=dict)  # include_vars


def layers_for(
    playbook: Playbook,
    play: Play,
    host: Host,
    *,
    inventory: Inventory | None = None,
    task: Task | None = None,
    learnt: Learnt | None = None,
    vars_files: tuple[Mapping[str, Any], ...] = (),
    extra: Mapping[str, Any] = EMPTY,
    magic: Mapping[str, Any] = EMPTY,
    answers: Mapping[str, Reply] | None = None,
    vault: Vault | None = None,
) -> Scope:
    """The scope of a task on a host. `magic` holds functions of no argument, called when a name is asked for."""
    known = learnt or Learnt()
    layers = [
        Layer(Level.MAGIC, magic, data=True, lazy=True),
        Layer(Level.EXTRA_VARS, extra),
        *_params(task),
        Layer(Level.SET_FACTS, known.set_facts, data=True),
        Layer(Level.INCLUDE_VARS, known.included),
        *_of_task(task),
        *(Layer(Level.ROLE_VARS, values) for values in reversed(play.role_vars)),
        *(Layer(Level.VARS_FILES, values) for values in reversed(vars_files)),
        Layer(Level.VARS_PROMPT, play.answers),
        Layer(Level.PLAY_VARS, play.vars),
        Layer(Level.PLAY_VARS, playbook.vars),
        Layer(Level.FACTS, known.facts, data=True),
        *_of_inventory(inventory, host),
        *_defaults(task, play),
        *_keywords(task, play),
    ]
    return Scope(tuple(layers), render, answers, facts_known=known.whole, vault=vault)


def _params(task: Task | None) -> Iterator[Layer]:
    """What includes were given, then what roles were: of each the innermost first."""
    found = [Layer(_level(values, Level.ROLE_PARAMS), values) for values in reversed(task.params if task else ())]
    yield from sorted(found, key=lambda layer: -layer.level)


def _of_task(task: Task | None) -> Iterator[Layer]:
    """Task, block and role variables."""
    if task is not None:
        for values in reversed(task.vars):
            if _level(values, Level.TASK_VARS) is not Level.KEYWORDS:
                yield Layer(_level(values, Level.TASK_VARS), values)


def _keywords(task: Task | None, play: Play) -> Iterator[Layer]:
    """`connection: ..` and its like, of the task and its blocks before those of the play: least of all."""
    for values in (*reversed(task.vars if task is not None else ()), *reversed(play.role_defaults)):
        if _level(values, Level.TASK_VARS) is Level.KEYWORDS:
            yield Layer(Level.KEYWORDS, values)


def _of_inventory(inventory: Inventory | None, host: Host) -> tuple[Layer, ...]:
    found = inventory.layers.get(host.name) if inventory is not None else None
    return found or (Layer(Level.INVENTORY_HOST, host.vars),)


def _defaults(task: Task | None, play: Play) -> Iterator[Layer]:
    """The task's own role before the other roles of the play."""
    for values in reversed(task.defaults if task is not None else ()):
        yield Layer(Level.ROLE_DEFAULTS, values)
    for values in reversed(play.role_defaults):
        if _level(values, Level.ROLE_DEFAULTS) is not Level.KEYWORDS:
            yield Layer(_level(values, Level.ROLE_DEFAULTS), values)


def _level(values: Mapping[str, Any], usual: Level) -> Level:
    return getattr(values, "level", None) or usual


@dataclass(frozen=True, slots=True)
class Reason:
    """One level that sets a name: its unrendered value, where, and whose it is ("group web")."""

    level: Level
    value: Any
    span: Span | None
    owner: str


def why(scope: Scope, name: str) -> tuple[Reason, ...]:
    """Every level that sets `name`, the winner first."""
    return tuple(Reason(*found) for found in scope.why(name))
