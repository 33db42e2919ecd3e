"""The templates in a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ciflow.model import Task, Template

_SCALARS = frozenset({str, int, float, bool, type(None)})


def templates_in(value: Any) -> Sequence[Template]:
    """Every Template in a value, in order."""
    if value.__class__ in _SCALARS or not value:
        return ()
    if isinstance(value, Template):
        return (value,)
    found: list[Template] = []
    _gather(value, found)
    return found


def _gather(value: Any, found: list[Template]) -> None:
    if isinstance(value, list | tuple):
        for below in value:
            if below and below.__class__ not in _SCALARS:
                _gather(below, found)
    elif isinstance(value, Template):
        found.append(value)
    elif isinstance(value, Mapping):
        for key, below in value.items():
            if key.__class__ not in _SCALARS and isinstance(key, Template):
                found.append(key)
            if below and below.__class__ not in _SCALARS:
                _gather(below, found)


def values_of(task: Task) -> tuple[Any, ...]:
    """Everything in a task that may hold a template."""
    become, loop = task.become, task.loop
    return (task.name, task.args, task.when, task.vars, task.environment, task.notify, task.params,
            task.changed_when, task.failed_when, task.until, task.retries, task.delay, task.delegate_to,
            become.enabled, become.user, become.flags, become.exe,
            task.ignore_errors, task.run_once, task.no_log, task.timeout,
            task.throttle, task.async_limit, task.poll,
            (loop.items, loop.label) if loop is not None else None)  # fmt: skip
