"""Dynamic includes: files, roles and variables that are known only when the play gets there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Invalid, TargetError
from ciflow.engine.keys import Key
from ciflow.engine.rendering import Rendering, loop_variables
from ciflow.engine.result import HostFailed, Result, broken, skipped
from ciflow.lang.include import load_role, load_task_file, load_variables, role_of
from ciflow.lang.template import render
from ciflow.model import EMPTY, Node, Task
from ciflow.plan.tags import prune

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane

Found = tuple[tuple[Node, ...], tuple[str, ...]]


async def included(lane: Lane, task: Task, prefix: tuple[str, ...]) -> list[Found]:
    """The node lists that an include stands for, each with the path that its tasks are keyed under.

    One for each loop item whose `when` holds. The loop's variable is seen by the tasks inside as parameters. An
    include that can't be read fails its host, as a task would. Raises HostFailed.
    """
    began = time.monotonic()
    key = replace(lane.key, path=(*prefix, *task.path))
    rendering = Rendering(lane, task, key)
    found: list[Found] = []
    try:
        result = await _read(rendering, found)
    except (Invalid, TargetError, HostFailed) as error:
        result = broken(error)
    if result.bad and await rendering.value(task.ignore_errors) is True:
        result = replace(result, status="ignored")
    lane.finished(task, key, result, time.monotonic() - began)
    if result.bad:
        raise HostFailed(task, result, key)
    return found


async def _read(rendering: Rendering, found: list[Found]) -> Result:
    """Read what is included; the task lists go into `found`."""
    rounds = await _rounds(rendering)
    ran = False
    for number, extra in enumerate(rounds):
        at = rendering.key.below(f"include{number}")
        if await rendering.when(at, extra):
            ran = True
            nodes = await _include(rendering, at, extra)
            if nodes:
                found.append((nodes, at.path))
    if not ran:
        return skipped()
    return Result("ok", {"changed": False, "failed": False, "skipped": False, "unreachable": False, "msg": ""})


async def _rounds(rendering: Rendering) -> list[Mapping[str, Any]]:
    loop = rendering.task.loop
    if loop is None:
        return [EMPTY]
    items = await rendering.items() or []
    loop = await rendering.control(loop)
    return [loop_variables(loop, items, number) for number in range(len(items))]


async def _include(rendering: Rendering, at: Key, extra: Mapping[str, Any]) -> tuple[Node, ...]:
    """One round: variables are taken in at once, tasks are given back, chosen by tags as all others are."""
    task, lane = rendering.task, rendering.lane
    run = lane.run
    scope = rendering.scope
    args = await rendering.recorded(f"{at}|args", lambda: dict(render(dict(task.args), scope(extra))))
    if task.module == "include_vars":
        lane.values.included.update(load_variables(run.files, task, args))
        return ()
    if task.module == "include_tasks":
        nodes = load_task_file(run.files, task, args, extra)
    else:
        lane.stage.adopt_handlers(role_of(run.files, task, args)[1])
        nodes = load_role(run.files, task, args, extra)
    return prune(nodes, run.plan.selection.tags, run.plan.selection.skip_tags)
