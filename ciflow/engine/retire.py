"""`retire` made of operations: what each host can do alone, long after this process has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.encoding import encode_operation
from ciflow.engine.arguments import arguments
from ciflow.engine.keys import Key
from ciflow.engine.rendering import Rendering
from ciflow.lang.template import render
from ciflow.model import Api, Change, Compile, Context, Operation, Probe, Reply, Task
from ciflow.modules import MODULES
from ciflow.plan.compile import tasks_of

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.link import Connection
    from ciflow.engine.stage import StageRun


class Places:
    """Where a rollout's steps are done: hosts by name, and hosts as another user, whose agent has a journal of its
    own."""

    def __init__(self, work: StageRun) -> None:
        self._work = work
        self._others: dict[str, Connection] = {}

    def of(self, name: str) -> Connection:
        return self._others.get(name) or self._work.connection_of(name)

    def name(self, connection: Connection) -> str:
        """A connection's name as a place."""
        host: str = connection.name
        if connection == self._work.connection_of(host):
            return host
        place = f"{host} as {connection.become.user}" if connection.become is not None else f"{host} as itself"
        self._others[place] = connection
        return place


async def compiled(work: StageRun, places: Places, step: Compile) -> Reply:
    """The answer to `Compile`. Raises Invalid, placed, for a task that needs a reply to go on."""
    work.extra = {**work.extra, **step.vars}
    found: dict[str, list[dict[str, Any]]] = {}
    for host in work.hosts:
        lane = work.lane_of(host.name)
        assert lane is not None
        lane.extra.update(step.vars)
        for number, task in enumerate(tasks_of(step.nodes)):
            await _compile(lane, task, number, places, found)
    return Reply(data={"places": found})


async def _compile(lane: Lane, task: Task, number: int, places: Places, found: dict[str, list[dict[str, Any]]]) -> None:
    key = lane.key.below("retire", number)
    rendering = Rendering(lane, task, key)
    for at, extra in enumerate(await rendering.rounds()):
        below = key.below(f"item{at}")
        if not await rendering.when(below, extra):
            continue
        operations = await rendering.recorded(f"{below}|operations", partial(_operations, rendering, extra, below))
        connection = await rendering.settle(partial(_connection, rendering, extra))
        found.setdefault(places.name(connection), []).extend(operations)


def _connection(rendering: Rendering, extra: Mapping[str, Any]) -> Connection:
    return rendering.lane.connection_for(rendering.task, rendering.scope(extra))


def _operations(rendering: Rendering, extra: Mapping[str, Any], key: Key) -> list[dict[str, Any]]:
    lane, task = rendering.lane, rendering.task
    scope = rendering.scope(extra)
    environment: dict[str, str] = {}
    for layer in task.environment:
        environment |= {str(name): str(value) for name, value in (render(layer, scope) or {}).items()}
    context = replace(lane.context(task, environment, str(key), 0.0, scope), check=False)
    return [encode_operation(operation) for operation in alone(task, arguments(task, scope), context)]


def alone(task: Task, args: Mapping[str, Any], context: Context) -> Iterator[Operation]:
    """The one operation that the task comes to, or the requests to a cluster that only say how things should be.
    Raises Invalid where it would have to hear how one went."""
    steps, reply = MODULES[task.module].run(args, context), None
    try:
        while True:
            step = steps.send(reply)  # type: ignore[arg-type]
            stated = isinstance(step, Change) and isinstance(step.operation, Api) and step.operation.repeat
            if not stated and not (isinstance(step, Probe | Change) and step.last):
                raise _asks(task)
            yield step.operation  # type: ignore[union-attr]
            if not stated:
                return
            reply = Reply()
    except StopIteration as end:
        if end.value.failed:
            raise Invalid([Diagnostic("error", "CF0311", str(end.value.msg), task.span)]) from None
    finally:
        steps.close()


def _asks(task: Task) -> Invalid:
    text = f"`{task.module}` has no place in `retire`: it asks its host and goes on by the answer"
    help = "say it with `command` or `shell`; `process` with `state: stopped` and `file` do as well"
    if task.module == "k8s":
        text = "`k8s` has no place in `retire` with a file, `wait` or `prune`: it would go on by what it reads"
        help = "name the objects in the task: `kind` and `name`, or `definition`"
    return Invalid([Diagnostic("error", "CF0311", text, task.span, help=help)])
