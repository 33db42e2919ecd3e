"""Dynamic includes: files, roles and variables that are known only when the play gets there."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid, TargetError
from ciflow.engine.keys import Key
from ciflow.engine.rendering import Rendering
from ciflow.engine.result import HostFailed, Result, broken, skipped
from ciflow.engine.sharing import check_shared
from ciflow.lang.filters_data import combine
from ciflow.lang.include import load_role, load_task_file, load_variables, role_of
from ciflow.lang.schema import coerce
from ciflow.lang.template import render
from ciflow.model import Node, Task
from ciflow.plan.tags import prune

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane

DEEPEST = 100  # includes within includes
_ROUND = re.compile(r"include\d+")  # the part of a key that a round of an include adds
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
        _check_depth(task, prefix)
        result = await _read(rendering, found)
        if lane.stage.shard is not None:
            check_shared([node for nodes, _ in found for node in nodes], lane.stage.play)
    except (Invalid, TargetError, HostFailed) as error:
        result = broken(error)
    if result.bad and await rendering.value(task.ignore_errors) is True:
        result = replace(result, status="ignored")
    lane.finished(task, key, result, time.monotonic() - began)
    if result.bad:
        raise HostFailed(task, result, key)
    return found


def _check_depth(task: Task, prefix: tuple[str, ...]) -> None:
    """Raises Invalid for an include that is too deep in others: most likely it leads back to itself, for ever."""
    if sum(_ROUND.fullmatch(part) is not None for part in prefix) >= DEEPEST:
        text = f"includes are nested more than {DEEPEST} deep"
        help = "where it includes itself, a `when` must end that some time"
        raise Invalid([Diagnostic("error", "CF0140", text, task.span, help=help)])


async def _read(rendering: Rendering, found: list[Found]) -> Result:
    """Read what is included; the task lists go into `found`."""
    rounds = await rendering.rounds()
    ran, files = False, list[str]()
    for number, extra in enumerate(rounds):
        at = rendering.key.below(f"include{number}")
        if await rendering.when(at, extra):
            ran = True
            nodes = await _include(rendering, at, extra, files)
            if nodes:
                found.append((nodes, at.path))
    if not ran:
        return skipped()
    values = {"changed": False, "failed": False, "skipped": False, "unreachable": False, "msg": ""}
    told = {"ansible_included_var_files": files} if rendering.task.module == "include_vars" else {}
    return Result("ok", {**values, **told})


async def _variables(rendering: Rendering, args: Mapping[str, Any], extra: Mapping[str, Any], files: list[str]) -> None:
    """`include_vars`. With `hash_behaviour: merge` a mapping keeps what it has and the file doesn't say."""
    lane = rendering.lane
    found, read = load_variables(lane.run.files, rendering.task, args)
    files += read
    values: dict[str, Any] = dict(found)
    if args.get("hash_behaviour") == "merge":

        def merged() -> dict[str, Any]:
            scope = rendering.scope(extra)
            known = {name: scope.get(name) for name in found if name in scope}
            return combine(known, found, recursive=True)

        values = await rendering.settle(merged)
    lane.values.included.update(values)


async def _include(rendering: Rendering, at: Key, extra: Mapping[str, Any], files: list[str]) -> tuple[Node, ...]:
    """One round: variables are taken in at once (`files` tells from where), tasks are given back, chosen by tags as all
    others are."""
    task, lane = rendering.task, rendering.lane
    run = lane.run
    scope = rendering.scope
    args = await rendering.recorded(f"{at}|args", lambda: dict(render(dict(task.args), scope(extra))))
    if task.module == "include_vars":
        await _variables(rendering, coerce(task.module, args, task.spans), extra, files)
        return ()
    if task.module == "include_tasks":
        nodes = load_task_file(run.files, task, args, extra)
    else:
        args = coerce(task.module, args, task.spans)
        role, handlers = role_of(run.files, task, args)
        lane.stage.adopt_handlers(handlers)
        nodes = load_role(run.files, task, args, extra)
        if role is not None and args.get("public"):
            lane.stage.adopt_variables(role)
    return prune(nodes, run.plan.selection.tags, run.plan.selection.skip_tags)
