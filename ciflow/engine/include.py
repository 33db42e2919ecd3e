"""Dynamic includes: files, roles and variables that are known only when the play gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ciflow.lang.include import load_role, load_task_file, load_variables, role_of
from ciflow.lang.lookups import expand
from ciflow.lang.template import evaluate, render
from ciflow.model import EMPTY, Node, Task

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane

Found = tuple[tuple[Node, ...], tuple[str, ...]]


async def included(lane: Lane, task: Task, prefix: tuple[str, ...]) -> list[Found]:
    """The node lists that an include stands for, each with the path that its tasks are keyed under.

    One for each loop item whose `when` holds. The loop's variable is seen by the tasks inside as parameters.
    """
    found: list[Found] = []
    outer = lane.scope(task)
    items = [(None, EMPTY)] if task.loop is None else [(i, {task.loop.var: i}) for i in expand(task.loop, outer)]
    for number, (_, extra) in enumerate(items):
        scope = outer.child(extra) if extra else outer
        if task.when and not evaluate(task.when, scope):
            continue
        args: dict[str, Any] = dict(render(dict(task.args), scope))
        inside = (*prefix, *task.path, f"include{number}")
        if task.module == "include_vars":
            lane.values.included.update(load_variables(lane.run.files, task, args))
        elif task.module == "include_tasks":
            found.append((load_task_file(lane.run.files, task, args, extra), inside))
        else:
            lane.stage.adopt_handlers(role_of(lane.run.files, task, args)[1])
            found.append((load_role(lane.run.files, task, args, extra), inside))
    if task.register:
        lane.values.set_facts[task.register] = {"changed": False, "failed": False, "skipped": not found}
    return found
