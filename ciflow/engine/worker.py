"""What a worker does: walks one shard of a stage's hosts, with a journal, a wire and a lease of its own.

The order says all that is needed, and may be carried out again: whatever an earlier worker recorded before it was lost
is answered from the journal, and its hosts are asked about the rest (docs/resume.md), as after any kill.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, ExitCode, Locked, Refused, StoreError
from ciflow.engine.context import HostValues, RunContext
from ciflow.engine.hosts import Hosts
from ciflow.engine.link import Connection
from ciflow.engine.reached import LOCAL
from ciflow.engine.record import Recorder
from ciflow.engine.request import Request, go_back, prepare
from ciflow.engine.saved import digests_of
from ciflow.engine.secrets import secrets_of
from ciflow.engine.shard import Shard, ShardEnd
from ciflow.engine.snapshot import keep_snapshot, snapshot_of
from ciflow.engine.stage import StageRun
from ciflow.engine.testing import before
from ciflow.engine.wire import Wire
from ciflow.lang.files import Files
from ciflow.lang.load import Loaded
from ciflow.lang.vault import Password, Vault
from ciflow.model import Event, Host
from ciflow.plan import Plan
from ciflow.store.artifacts import open_shelf
from ciflow.store.locks import Holder, Lease, Observer, this_machine
from ciflow.store.place import Team
from ciflow.store.seal import Seal
from ciflow.store.store import Store
from ciflow.targets.api import ApiSession, open_session
from ciflow.targets.connection import connection_cap
from ciflow.targets.session import Session

BEAT = 1.0  # seconds between looks whether the run is still ours to work on
INTERRUPTED = "interrupted"  # why a meeting is stopped when commands on hosts are to end, too


@dataclass(frozen=True, slots=True)
class Order:
    """A shard to walk. `hosts` are all of the stage, `batch` those that its shards have between them, `own` this one's.

    `values` are those of `own`; they come back only where `asked`. `again`: the run has a past.
    """

    url: str
    run: str
    key: bytes = field(repr=False)
    lease: Lease
    request: Request
    passwords: tuple[Password, ...] = field(repr=False)
    snapshots: tuple[str, ...]
    stage: str
    suffix: str
    meeting: str
    number: int
    hosts: tuple[str, ...]
    batch: tuple[str, ...]
    own: tuple[str, ...]
    values: Mapping[str, HostValues] = field(repr=False)
    started: float
    git: Mapping[str, Any]
    services: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, dict[str, Any]]
    artifacts: Mapping[str, str]  # digests by name
    announced: tuple[str, ...]  # tasks that batches before have told of
    machine: str  # the controller's
    digests: Mapping[str, str]  # of files that tasks may send, where a worker on another machine has its own
    provenance: Mapping[str, str]
    forks: int
    asked: bool
    again: bool


def walk(order: Order) -> ShardEnd:
    """Carry out an order; errors of ciflow's are told, not raised."""
    try:
        go_back(order.request)
        with Store.open(Team(order.url)) as store:
            return asyncio.run(_Walk(order, store).go())
    except CiflowError as error:
        return ShardEnd({}, {}, {}, (), (error.message, error.help, int(error.exit_code)))


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where a run's playbook is read from: known by the run and its snapshots."""

    run: str
    snapshots: tuple[str, ...]
    order: Order = field(compare=False)


@functools.lru_cache(maxsize=1)
def _read(sources: _Sources) -> tuple[Loaded, Plan, Files]:
    """The playbook as the run's snapshots have it; once for all shards that a worker gets of it."""
    order = sources.order
    seal = Seal(order.run, order.key)
    with Store.open(Team(order.url)) as store:
        found = {name: data for one in order.snapshots for name, data in snapshot_of(store, one, seal).items()}
    files = Files.frozen(found, Vault(order.passwords))
    loaded, plan = prepare(order.request, files)
    if _is_away(order):
        _compare(order.digests, digests_of(loaded))
    return loaded, plan, files.thawed()


def _is_away(order: Order) -> bool:
    """Whether the controller is another machine than this one."""
    return not order.machine or order.machine != this_machine()


def _compare(theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refused where a file that tasks may send is another one here."""
    other = sorted(path for path in {**theirs, **ours} if theirs.get(path) != ours.get(path))
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        raise Refused(
            f"{other[0]}{more} on the worker's machine {socket.gethostname()} is not what the controller has",
            help="workers on other machines need the project's folder at the same path, with the same files",
        )


class _Walk:
    """One process's walk over a shard. It is the journal that its recorder writes to."""

    def __init__(self, order: Order, store: Store) -> None:
        self.order = order
        self.store = store
        self.seal = Seal(order.run, order.key)
        self.loaded, self.plan, self.files = _read(_Sources(order.run, order.snapshots, order))
        self.mask = secrets_of(order.request, self.loaded)
        self.kept = self.files.count
        self.board = store.board(order.run, order.meeting)
        self.shard = Shard(self.board, order.number, frozenset(order.own), self.seal)
        self.lease = self._lease()
        self.observer = Observer()

    def _lease(self) -> Lease:
        """Whoever walked this shard before writes no more: two workers never believe that it is theirs."""
        order = self.order
        holder = Holder.me(f"{order.run} shard {order.number}", order.request.options.who, "a worker of a run")
        scope = f"shard {order.number} of {order.stage}|{order.lease.scope}"
        return self.store.locks.acquire(scope, holder, steal=True)

    def append(self, events: Sequence[Event]) -> int:
        """Refused when another has taken over the run, or this shard of it."""
        if self.files.count > self.kept:
            self.kept = self.files.count
            digest = keep_snapshot(self.store, self.files, self.seal, self.mask)
            events = [Event(kind="snapshot", run=self.order.run, data={"snapshot": digest}), *events]
        return self.store.append(events, self.order.lease, self.lease)

    async def go(self) -> ShardEnd:
        recorder = Recorder(self.order.run, self, secret=self.seal.digest_key, sealer=self.seal, mask=self.mask)
        lost = self.board.claimed(f"walk {self.order.number}") is not None
        self.board.claim(f"walk {self.order.number}", self.order.number)
        if lost or self.order.again:
            recorder.remember(self._past())
        wire = Wire(recorder, self._open, cap=connection_cap())
        wire.take_over = lambda error: error.run == self.order.run
        stage = self._stage(recorder, wire)
        self._begin(recorder, wire, lost)
        work = asyncio.get_running_loop().create_task(self._walk(stage))
        beat = asyncio.get_running_loop().create_task(self._beat(work, wire))
        ended = False
        try:
            await work
            recorder.used()
            recorder.commit()  # before hosts forget what became of the last operations
            ended = True
        except asyncio.CancelledError:
            recorder.used()
            recorder.commit()
            return ShardEnd({}, {}, {}, (), ("a worker was told to end its work", "", int(ExitCode.INTERRUPTED)))
        finally:
            beat.cancel()
            wire.close(ended=ended)
        self.shard.leave(stage.said())
        self.store.locks.release(self.lease)
        return self._end(stage)

    # --- private -----------------------------------------------------------------------------------------

    async def _walk(self, stage: StageRun) -> None:
        await stage.chosen.read(stage.own(stage.hosts))
        await stage.run_nodes(stage.play.tasks, self._hosts(stage.run, self.order.batch))

    def _stage(self, recorder: Recorder, wire: Wire) -> StageRun:
        order, request = self.order, self.order.request
        folder = request.playbook.rpartition("/")[0] or "."
        shelf = open_shelf(self.store.path, self.plan.playbook.artifact_store or request.options.artifact_store)
        run = RunContext(
            id=order.run, plan=self.plan, hosts=Hosts(self.loaded.inventory, request.inventory, folder, self.files),
            files=self.files, extra=self.loaded.extra, recorder=recorder, wire=wire, controller=LOCAL,
            reach=request.reach, person=None, stepper=None, store=shelf, blobs=self.store.blobs, needed=dict,
            mask=self.mask, claim=_claims_nothing, test_history=functools.cache(self._history),
            options=request.options, away=_is_away(order), roles=self.loaded.roles,
            artifacts={name: str(shelf.take(digest)) for name, digest in order.artifacts.items()},
            provenance=dict(order.provenance), started=order.started, git=order.git,
            services=dict(order.services), outputs=dict(order.outputs),
        )  # fmt: skip
        stage = next(one for one in self.plan.stages if one.id == order.stage)
        hosts = self._hosts(run, order.hosts)
        work = StageRun(run, stage, hosts, dict(order.values), suffix=order.suffix, shard=self.shard, forks=order.forks)
        work.announced.update(order.announced)
        return work

    def _hosts(self, run: RunContext, names: Sequence[str]) -> tuple[Host, ...]:
        return tuple(host for name in names if (host := run.host(name)) is not None)

    def _history(self) -> Mapping[str, Any]:
        return before(self.store, self.order.run, self.order.started)

    def _begin(self, recorder: Recorder, wire: Wire, lost: bool) -> None:
        order = self.order
        data = {"shard": order.number, "hosts": len(order.own), "worker": f"{os.getpid()} on {socket.gethostname()}"}
        recorder.emit("shard_started", data, play=order.stage + order.suffix, key=f"{order.meeting}|{order.number}")
        if lost:
            few = f"{order.own[0]} to {order.own[-1]}" if len(order.own) > 1 else order.own[0]
            wire.warn(f"a worker was lost; its hosts ({few}) go on with another")
        recorder.commit()

    def _past(self) -> Iterator[Event]:
        """What concerns this shard of what the run has recorded."""
        own = {"", *self.order.own}
        play = self.order.stage + self.order.suffix
        for event in self.store.events(run=self.order.run):
            where = event.key.split("|", 3)
            if event.kind not in ("op_sent", "op_reply", "rendered"):
                concerns = event.play == play and event.host in own
            elif where[0] == self.order.run and len(where) == 4:
                concerns = where[1] == play and where[2] in own
            else:
                concerns = True
            if concerns:
                yield event

    def _open(self, connection: Connection, inbox: Any) -> Session | ApiSession:
        project, token = self.order.lease.scope, self.order.lease.token
        return open_session(connection, project=project, run=self.order.run, token=token, inbox=inbox)

    async def _beat(self, work: asyncio.Task[None], wire: Wire) -> None:
        """End the work when the run's controller says so, is gone, or has been overtaken."""
        while True:
            await asyncio.sleep(BEAT)
            try:
                why = self.shard.stopped
                held = self.store.locks.fence(self.order.lease)
                gone = held.holder is not None and held.holder.gone()
                alone = gone or self.observer.dead(held)
            except (StoreError, Locked) as error:
                return wire.stop(error)
            if why or alone:
                if why == INTERRUPTED:
                    wire.abort()
                work.cancel()
                return None

    def _end(self, stage: StageRun) -> ShardEnd:
        states = {lane.host.name: lane.state for lane in stage.lanes.values() if lane.host.name in self.shard.hosts}
        values = {name: stage.values[name] for name in states} if self.order.asked else {}
        return ShardEnd(states, values, stage.said(), tuple(stage.announced))


def _claims_nothing(scope: str) -> int:
    raise Locked(f"a worker takes no lock: {scope}")
