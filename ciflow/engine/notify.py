"""Handlers are asked for by name: what a task is called, and which handlers a change wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.scope import Scope
from ciflow.lang.template import render
from ciflow.model import Task

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane


def name_of(task: Task, scope: Scope | None = None) -> str:
    """A task's name for people; templates in it are rendered where that is possible without a host."""
    if not task.name:
        return task.module
    return str(render(task.name, scope)) if scope is not None else str(getattr(task.name, "source", task.name))


def notify(lane: Lane, name: Any, task: Task) -> None:
    """A change wants handlers: by their name, or by what they listen to. A template may name several."""
    wanted = lane.at_once(name, task)
    for one in wanted if isinstance(wanted, list | tuple) else (wanted,):
        _notify(lane, str(one), task)


def _notify(lane: Lane, wanted: str, task: Task) -> None:
    stage = lane.stage
    named = [h for h in stage.play.handlers if wanted in (name_of(h), lane.called(h))]
    matching = [*named[-1:], *(h for h in stage.play.handlers if wanted in h.listen)]
    if not matching:
        text = f"`notify` names a handler that is not there: {wanted}"
        raise Invalid([Diagnostic("error", "CF0501", text, task.spans.get("notify") or task.span)])
    for handler in matching:
        lane.notified["/".join(handler.path)] = None
    data = {"handler": wanted}
    lane.run.recorder.emit(
        "handler_notified", data, play=stage.id, host=lane.host.name, task="/".join(task.path), key=wanted
    )
