"""One stage: a play (or a cell of its matrix) on its hosts. Batches, the barrier, handlers, and failure limits."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ciflow.diagnostics import Refused
from ciflow.engine.batches import batches, ordered
from ciflow.engine.connect import LOGIN_USER, connection_for
from ciflow.engine.context import HostValues, RunContext
from ciflow.engine.drive import Chain
from ciflow.engine.failures import Failures
from ciflow.engine.forks import Forks, usual_forks
from ciflow.engine.host import HostStage
from ciflow.engine.hosts import HostVars
from ciflow.engine.keys import Key
from ciflow.engine.lane import Lane
from ciflow.engine.learning import gather_facts, learn_facts
from ciflow.engine.link import Connection
from ciflow.engine.magic import magic_of
from ciflow.engine.names import asked_by
from ciflow.engine.once import Once
from ciflow.engine.pace import Pace, Position, SharedPace
from ciflow.engine.rendering import Rendering
from ciflow.engine.result import HostEnded, HostFailed, PlayEnded, Result
from ciflow.engine.retain import Document, documents_of, scans_of
from ciflow.engine.shard import Shard, ShardEnd
from ciflow.engine.task import TaskRun
from ciflow.engine.tell import ended, things
from ciflow.engine.vars_files import VarsFiles
from ciflow.engine.walk import Started, Walk
from ciflow.lang.roles import Role
from ciflow.lang.scope import Scope, View
from ciflow.model import EMPTY, Host, Node, Play, Task
from ciflow.plan import Stage

T = TypeVar("T")


class StageRun:
    """Runs one stage. `values` are the hosts' values as the plays before left them; they are changed in place."""

    def __init__(
        self,
        run: RunContext,
        stage: Stage,
        hosts: tuple[Host, ...],
        values: dict[str, HostValues],
        *,
        extra: Mapping[str, Any] = EMPTY,
        suffix: str = "",
        shard: Shard | None = None,
        forks: int = 0,
    ) -> None:
        self.run = run
        self.stage = stage
        self.play: Play = stage.play
        self.id = stage.id + suffix
        self.hosts = hosts
        self.values = values
        self.extra = extra
        self.shard = shard
        self.elsewhere: frozenset[str] = frozenset()  # hosts that have failed in other shards
        self.lanes: dict[str, Lane] = {}
        self._others: dict[str, Lane] = {}  # of hosts that take no part, for who asks for their variables
        self.batch: tuple[Host, ...] = hosts
        self.chosen = VarsFiles(self)
        self.pace = Pace(())
        self.aborted = ""
        self.done: list[tuple[str, Mapping[str, Any]]] = []  # of a play that leaves artifacts: (host, how a task ended)
        self.folders: dict[str, None] = {}  # that tasks worked in, in their order
        self.vouched: dict[str, str] | None = None  # the only artifacts that its tasks see, where `require` says so
        self.documents: list[Document] = []  # that tasks wrote and that vouch for something
        self.failures = Failures(self)
        self._batch_ended = False
        self.once = Once(self)
        self.announced: set[str] = set()
        self._asked: dict[tuple[str, ...], frozenset[str]] = {}
        self._limits: dict[tuple[str, ...], asyncio.Semaphore | None] = {}
        self.answers: dict[str, Any] = {}  # to lookups of the play's own keywords
        self.magic = magic_of(self)
        most = forks or run.options.forks or usual_forks()
        self._forks = Forks(most) if most < len(hosts) else None

    # --- the way of a stage ------------------------------------------------------------------------------

    async def go(self) -> None:
        """All tasks on all hosts, batch by batch (`serial`), then the handlers that were notified."""
        every = await self.settle("serial", self._batches)
        for number, batch in enumerate(every):
            if len(every) > 1:
                data = {"number": number + 1, "of": len(every), "hosts": [host.name for host in batch]}
                self.run.recorder.emit("batch_started", data, play=self.id, key=str(number))
            if self.run.crew is not None and self.run.crew.takes(self.play, batch):
                await self.run.crew.work(self, batch, number)
            else:
                await self.run_nodes(self.play.tasks, batch)
            if not self.aborted and len(batch) < len(self.hosts) and not self._alive_in_batch():
                self.abort("every host of a batch failed")
            self.aborted = self.aborted or self.failures.stopped
            if self.aborted:
                return

    async def run_nodes(self, nodes: tuple[Node, ...], hosts: tuple[Host, ...], *, handlers: bool = True) -> None:
        """One list of tasks on some hosts, with the barrier of the strategy between tasks."""
        self.batch = hosts
        lanes = [self.own_lane(host) for host in self.own(hosts)]
        self.once = Once(self)
        self._batch_ended = False
        names = [lane.name for lane in lanes]
        self.pace = Pace(names) if self.shard is None else SharedPace(names, self._meet)
        await gather_facts(self, nodes, lanes)
        results = await asyncio.gather(*(self._walk(lane, nodes, handlers) for lane in lanes), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def own(self, hosts: tuple[Host, ...]) -> tuple[Host, ...]:
        """Those that this process walks."""
        return hosts if self.shard is None else tuple(host for host in hosts if host.name in self.shard.hosts)

    async def _meet(self, position: Position) -> None:
        """Wait for the other shards, and take in what became of their hosts."""
        assert self.shard is not None
        self.hear(await self.shard.meet(position, self.said()))

    def said(self) -> dict[str, Any]:
        """What the other shards are to know of this one's hosts."""
        ends = {"aborted": self.aborted, "batch_ended": self._batch_ended}
        return {"failed": [lane.host.name for lane in self.failed], **ends, **self.failures.said()}

    def hear(self, others: Sequence[Mapping[str, Any]]) -> None:
        """What `said` gave in the other shards."""
        self.elsewhere = frozenset(name for said in others for name in said["failed"])
        self.aborted = next((said["aborted"] for said in others if said["aborted"]), self.aborted)
        self._batch_ended |= any(said["batch_ended"] for said in others)
        self.failures.hear(others)

    def take_in(self, batch: Sequence[Host], ends: Sequence[ShardEnd]) -> None:
        """What shards of a batch came to is this stage's."""
        self.batch = tuple(batch)
        self._batch_ended = False
        self.failures.begin()
        hosts = {host.name: host for host in batch}
        for end in ends:
            self.values.update(end.values)
            self.announced.update(end.announced)
            for name, state in end.states.items():
                lane = self.own_lane(hosts[name])
                lane.state, lane.values = state, self.values[name]
        last = [end.said for end in ends]
        self.failures.stopped = next((said["stopped"] for said in last if said["stopped"]), self.failures.stopped)
        self.hear(last)

    def says(self, what: str) -> bool:
        """Whether it is for this process to say what concerns all hosts: once is enough."""
        return self.shard is None or self.shard.says(what)

    async def prepare(self) -> None:
        """Put the hosts in `order`, and read `vars_files`."""
        recorder = self.run.recorder
        self.hosts = self.batch = ordered(
            self.play, self.hosts, lambda: recorder.rendered(f"{self.id}|order", random.random)
        )
        await self.chosen.read(self.own(self.hosts))

    async def settle(self, keyword: str, make: Callable[[], T]) -> T:
        """What `make` renders of a keyword of the play itself, after fetching what its lookups ask for."""
        lane = self.own_lane(self.hosts[0])
        task = Task(f"What is {keyword}", "meta", {}, self.play.span, (keyword,))
        return await Rendering(lane, task, replace(lane.key, path=task.path), self.answers).settle(make)

    def _batches(self) -> list[tuple[Host, ...]]:
        return batches(self.play, self.hosts, self.scope_of)

    @property
    def strategy(self) -> str:
        """The play's own, else the run's."""
        return self.play.strategy or self.run.options.strategy

    @property
    def alive(self) -> list[Lane]:
        return [lane for lane in self.lanes.values() if lane.state in ("ok", "ended")]

    def _alive_in_batch(self) -> bool:
        return any(self.lanes[host.name].state in ("ok", "ended") for host in self.batch)

    @property
    def failed(self) -> list[Lane]:
        return [lane for lane in self.lanes.values() if lane.state in ("failed", "unreachable")]

    # --- one host ----------------------------------------------------------------------------------------

    def own_lane(self, host: Host) -> Lane:
        if host.name not in self.lanes:
            values = self.values.setdefault(host.name, HostValues())
            self.lanes[host.name] = Lane(self, host, values, self.extra)
        return self.lanes[host.name]

    async def _walk(self, lane: Lane, nodes: tuple[Node, ...], handlers: bool) -> None:
        walk = Walk(HostStage(self, lane))
        pinned = self.strategy == "host_pinned"
        try:
            async with self.room(lane) if pinned else contextlib.nullcontext():
                if lane.state == "ok":
                    await self._tasks_and_handlers(walk, lane, nodes, handlers)
        except HostEnded:
            lane.state = "ended"
        except PlayEnded as end:
            lane.state = "ended"
            self._end_play(batch=end.batch)
        except HostFailed as failure:
            self.host_failed(lane, failure)
        finally:
            self.pace.leave(lane.name)

    async def _tasks_and_handlers(self, walk: Walk, lane: Lane, nodes: tuple[Node, ...], handlers: bool) -> None:
        try:
            await walk.nodes(nodes)
            await walk.settle((len(nodes),))
        except HostFailed as failure:
            self.host_failed(lane, failure)
            said = self.play.force_handlers
            forced = self.run.options.force_handlers if said is None else said
            if handlers and forced and lane.state == "failed":
                await self._flush_after_failure(walk, lane, (len(nodes),))
        else:
            if handlers:
                await walk.flush((len(nodes),))

    async def _flush_after_failure(self, walk: Walk, lane: Lane, position: tuple[int, ...]) -> None:
        """`force_handlers`: what was notified runs, and a handler that fails ends it there."""
        try:
            await walk.flush(position)
        except HostEnded:
            return
        except HostFailed as failure:
            lane.last_failure = failure

    async def learn_facts(self, lane: Lane, names: frozenset[str]) -> bool:
        """See learning.py."""
        return await learn_facts(self, lane, names)

    def host_failed(self, lane: Lane, failure: HostFailed) -> None:
        lane.state = "unreachable" if failure.result.status == "unreachable" else "failed"
        lane.last_failure = failure
        self.failures.unrescued(lane, failure)

    def start(self, lane: Lane, task: Task, path: tuple[str, ...], before: Started | None) -> Started:
        """Set a task going on a host, within the limits of `throttle`, `forks` and `run_once`."""
        chain = Chain()
        if before is None:
            self.announce(lane, task, path)
        else:  # sent ahead: it begins when the task before it has ended
            before.then(partial(self.announce, lane, task, path))
        run = TaskRun(lane, task, replace(lane.key, path=path), chain, before)
        job = self.once.run(task, path, run) if self.once.holds_for(lane, task) else self.limited(task, run)
        return Started(task, run.key, asyncio.get_running_loop().create_task(job), chain)

    async def limited(self, task: Task, run: TaskRun) -> Result:
        throttle = self._throttle(task, run)
        if self.over:
            raise HostEnded
        if self._forks is None and throttle is None:
            return await run.run()
        async with self.room(run.lane), throttle or contextlib.nullcontext():
            return await run.run()

    def room(self, lane: Lane) -> contextlib.AbstractAsyncContextManager[None]:
        """The host's share of `forks`, for as long as something is under way on it."""
        return self._forks.room(lane.name) if self._forks is not None else contextlib.nullcontext()

    def _throttle(self, task: Task, run: TaskRun) -> asyncio.Semaphore | None:
        if not task.throttle:
            return None
        path = run.key.path
        if path not in self._limits:
            limit = int(run.lane.at_once(task.throttle, task, 0))
            self._limits[path] = asyncio.Semaphore(limit) if limit > 0 else None
        return self._limits[path]

    # --- what roles bring ---------------------------------------------------------------------------------

    def adopt_handlers(self, handlers: tuple[Task, ...]) -> None:
        """Handlers of a role that was included while the play runs."""
        known = {handler.path for handler in self.play.handlers}
        more = tuple(handler for handler in handlers if handler.path not in known)
        self.play = replace(self.play, handlers=(*self.play.handlers, *more))

    def adopt_variables(self, role: Role) -> None:
        """Those of a role that was included with `public`: all tasks from here on see them."""
        play = self.play
        if role.vars not in play.role_vars or role.defaults not in play.role_defaults:
            self.play = replace(play, role_vars=(*play.role_vars, role.vars),
                                role_defaults=(*play.role_defaults, role.defaults))  # fmt: skip

    def abort(self, why: str) -> None:
        """No host starts another task."""
        if self.aborted:
            return
        self.aborted = why
        if self.says(f"stopped {why}"):
            self.run.wire.warn(f"{self.play.name}: stopped on all hosts: {why}")

    def _end_play(self, *, batch: bool) -> None:
        if batch:
            self._batch_ended = True
        else:
            self.aborted = self.aborted or "end_play"

    @property
    def over(self) -> bool:
        """Whether no host of this batch is to start another task."""
        return bool(self.aborted) or self._batch_ended

    # --- what templates ask ------------------------------------------------------------------------------

    def alive_names(self) -> list[str]:
        gone = self._gone
        return [host.name for host in self.hosts if host.name not in gone]

    def batch_names(self) -> list[str]:
        gone = self._gone
        return [host.name for host in self.batch if host.name not in gone]

    @property
    def _gone(self) -> set[str]:
        return {lane.host.name for lane in self.failed} | self.elsewhere

    def role_names(self, *, dependent: bool = False) -> list[str]:
        """Roles of the play, or those that they depend on."""
        return [name for name, depended in self.play.roles.items() if depended == dependent]

    def asked(self, task: Task, path: tuple[str, ...]) -> frozenset[str]:
        """Names that the task reads; found once for each place in the play: tasks of several includes have one path."""
        if path not in self._asked:
            self._asked[path] = asked_by(task)
        return self._asked[path]

    def scope_of(self, host: Host, answers: Mapping[str, Any] | None = None) -> Scope:
        """Another host's variables as this stage sees them, with `answers` to the lookups of who asks."""
        return (self.lanes.get(host.name) or self._other(host)).scope(None, answers)

    def _other(self, host: Host) -> Lane:
        """The lane of a host that takes no part."""
        lane, values = self._others.get(host.name), self.values.setdefault(host.name, HostValues())
        if lane is None or lane.host is not host or lane.values is not values:
            lane = self._others[host.name] = Lane(self, host, values, self.extra)
        return lane

    def lane_of(self, name: str) -> Lane | None:
        """The lane of another host, by its name; one that takes no part in the play can still be told facts."""
        host = self.run.host(name)
        if host is None:
            return None
        return self.lanes.get(name) or Lane(self, host, self.values.setdefault(name, HostValues()))

    def connection_of(self, name: str) -> Connection:
        """Another host's own connection, by its name in the inventory."""
        host = self.run.host(name)
        if host is None:
            raise Refused(f"the inventory has no host {name}")
        return connection_for(host, self.scope_of(host), LOGIN_USER, self.run.reach)

    def hostvars(self, answers: Mapping[str, Any]) -> Mapping[str, Any]:
        """All hosts' variables, each made only when it is asked for."""
        return HostVars((host.name for host in self.run.inventory.hosts), partial(self._view, answers))

    def _view(self, answers: Mapping[str, Any], name: str) -> View | None:
        host = self.run.host(name)
        return View(partial(self.scope_of, host, answers)) if host is not None else None

    # --- what is written down ----------------------------------------------------------------------------

    def announce(self, lane: Lane, task: Task, path: tuple[str, ...]) -> None:
        where = "/".join(path)
        if where in self.announced:
            return
        self.announced.add(where)
        if not self.says(f"started {where}"):
            return
        data = {"name": lane.called(task), "module": task.module, "hosts_total": len(self.batch), "role": task.role}
        self.run.recorder.emit("task_started", data, play=self.id, task=where)
        self.run.wire.schedule()

    def report(self, lane: Lane, task: Task, key: Key, result: Result, duration: float, *, secret: bool) -> None:
        """Write down how a task ended on a host, and what it made."""
        data = ended(self.run.id, task, lane.called(task), result, duration, self.run.files, secret=secret)
        if self.play.artifacts:
            self.done.append((lane.host.name, data))
        emit = partial(self.run.recorder.emit, play=self.id, host=lane.host.name, task=key.task)
        emit("task_ended", data)
        self.documents += documents_of(task, lane.host.name, result)
        self.run.scans.update(scans_of(task, result))
        for kind, made in ({} if secret else things(task, result)).items():
            for name, what in made.items():
                emit(kind, what, key=name)
        self.run.wire.schedule()
