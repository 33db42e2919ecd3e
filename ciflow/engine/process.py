"""One process that works on a run: its journal, locks, sessions and signals, from its first event to its last."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import CiflowError, ExitCode, Locked, StoreError, Superseded
from ciflow.engine.context import RunContext
from ciflow.engine.git import read_git
from ciflow.engine.hire import Job, hired, workers
from ciflow.engine.hosts import Hosts
from ciflow.engine.link import Connection
from ciflow.engine.live import Live
from ciflow.engine.people import People
from ciflow.engine.questions import Person
from ciflow.engine.reached import LOCAL
from ciflow.engine.record import Recorder, Sink
from ciflow.engine.request import Request
from ciflow.engine.result import PausedRun
from ciflow.engine.run import Engine
from ciflow.engine.snapshot import keep_snapshot
from ciflow.engine.stepping import Stepper
from ciflow.engine.testing import before
from ciflow.engine.wire import Wire
from ciflow.lang.files import Files
from ciflow.lang.load import Loaded
from ciflow.model import Event
from ciflow.plan import Plan
from ciflow.store.artifacts import Shelf
from ciflow.store.folds import history, passed, proof_of, to_keep
from ciflow.store.holds import holds
from ciflow.store.locks import Holder, Lease
from ciflow.store.mask import Mask
from ciflow.store.place import Team
from ciflow.store.seal import Seal
from ciflow.store.store import Store
from ciflow.targets.api import ApiSession, open_session
from ciflow.targets.connection import connection_cap
from ciflow.targets.session import Session

if TYPE_CHECKING:
    from ciflow.engine.crew import Crew

RENEW = 4  # seconds between renewals of the run's locks


class Process:
    """One process that works on a run."""

    def __init__(
        self,
        request: Request,
        store: Store,
        sinks: Sequence[Sink],
        run: str,
        lease: Lease,
        loaded: Loaded,
        plan: Plan,
        files: Files,
        started: float,
        past: tuple[Event, ...],
        person: Person | None,
        mask: Mask,
        shelf: Shelf,
        snapshots: tuple[str, ...],
    ) -> None:
        self.request = request
        self.store = store
        self.sinks = sinks
        self.id = run
        self.leases = [lease]
        self.loaded = loaded
        self.plan = plan
        self.files = files
        self.started = started
        self.past = past
        self.person = person
        self.seal: Seal = store.keys.of(run)
        self.mask = mask
        self.signal: signal.Signals | None = None
        self.error: CiflowError | None = None
        self.kept = files.count
        self.shelf = shelf
        self.snapshots = snapshots
        self.crew: Crew | None = None

    def run(self) -> ExitCode:
        with workers(self.request.options.workers) as client:
            code = asyncio.run(self._work(client))
        self._end(code)
        for sink in self.sinks:
            sink.close()
        if self.error is not None:
            raise self.error
        return code

    def _job(self) -> Job:
        """What workers need to know of the run."""
        assert isinstance(self.store.place, Team)
        return Job(
            self.store.place, self.id, self.seal.key, self.request, self.files.vault.passwords, self.snapshots,
            lambda: self.leases[0], self.loaded, bool(self.past),
        )  # fmt: skip

    async def _work(self, client: Any) -> ExitCode:
        recorder = Recorder(self.id, self, self.sinks, secret=self.seal.digest_key, sealer=self.seal, mask=self.mask)
        recorder.remember(self.past)
        wire = Wire(recorder, self._open, cap=connection_cap())
        wire.take_over = self._take_over
        wire.on_output = Live(self.id, self.mask, recorder.tell).output
        self.crew = hired(client, self.store, self._job, recorder.tell)
        context = self._context(recorder, wire)
        people = People(self.store, self.id, resumed=bool(self.past))
        context.git = await read_git(context)
        work = asyncio.get_running_loop().create_task(Engine(context, people).execute())
        beat = asyncio.get_running_loop().create_task(self._renew(work, wire))
        self._listen(work, wire)
        code = ExitCode.INTERNAL
        try:
            code = await work
        except asyncio.CancelledError:
            code = self._interrupted()
        except PausedRun:
            code = ExitCode.PAUSED
        except CiflowError as error:
            self.error, code = error, error.exit_code
        finally:
            beat.cancel()
            recorded = self._last_commit(recorder)  # else hosts must not forget what became of the last operations
            wire.close(ended=recorded and code in (ExitCode.OK, ExitCode.ROLLED_BACK))
        return code if recorded or self.error is None else self.error.exit_code

    def append(self, events: Sequence[Event]) -> int:
        """The journal of this process: refused when another has taken the run over."""
        if self.files.count > self.kept:
            self.kept = self.files.count
            digest = keep_snapshot(self.store, self.files, self.seal, self.mask)
            events = [Event(kind="snapshot", run=self.id, at=time.time(), data={"snapshot": digest}), *events]
        last = self.store.append(events, self.leases[0])
        if self.crew is not None:
            self.crew.recorded(last, len(events))
        return last

    # --- private -----------------------------------------------------------------------------------------

    def _context(self, recorder: Recorder, wire: Wire) -> RunContext:
        return RunContext(
            id=self.id,
            plan=self.plan,
            hosts=Hosts(
                self.loaded.inventory,
                self.request.inventory,
                self.request.playbook.rpartition("/")[0] or ".",
                self.files,
            ),
            files=self.files,
            extra=self.loaded.extra,
            options=self.request.options,
            recorder=recorder,
            wire=wire,
            controller=LOCAL,
            reach=self.request.reach,
            person=self.person,
            stepper=Stepper(recorder, self.person) if self.request.options.step else None,
            store=self.shelf,
            blobs=self.store.blobs,
            proofs=lambda digest: proof_of(self.store.events(kinds=("provenance",)), digest),
            needed=lambda: holds(self.store),
            started=self.started,
            claim=self._claim,
            mask=self.mask,
            passed=functools.partial(passed, self.store),
            roles=self.loaded.roles,
            test_history=functools.cache(lambda: before(self.store, self.id, self.started)),
            crew=self.crew,
            services={release.service: {"version": release.version} for release in history(self.store)},
        )

    def _open(self, connection: Connection, inbox: Any) -> Session | ApiSession:
        project = project_of(self.request)
        return open_session(connection, project=project, run=self.id, token=self.leases[0].token, inbox=inbox)

    def _take_over(self, error: Superseded) -> bool:
        """A host knows a greater token: of a run that this store has lost, or of one that took the project from us.

        Whoever still holds the lock here is the newest, and goes on with a token that is greater still.
        """
        lease = self.leases[0]
        try:
            self.store.locks.renew(lease)
            if error.token < lease.token or error.run == self.id:
                return True  # another connection of this very run has taken the host's place since: join it
            newer = self.store.locks.acquire(lease.scope, lease.holder, token_floor=error.token, steal=True)
        except (Locked, StoreError):
            return False
        self.leases[0] = newer
        return True

    def _claim(self, scope: str) -> int:
        held = next((lease for lease in self.leases if lease.scope == scope), None)
        if held is not None:
            return held.token
        holder = Holder.me(self.id, self.request.options.who, f"ciflow apply {self.request.playbook}")
        lease = self.store.locks.acquire(scope, holder, steal=bool(self.request.options.break_glass), heir=True)
        self.leases.append(lease)
        return lease.token

    async def _renew(self, work: asyncio.Task[ExitCode], wire: Wire) -> None:
        """Show that this process lives; stop it when somebody has taken its run."""
        beats = 0
        while True:
            await asyncio.sleep(1.0)
            beats += 1
            for sink in self.sinks:
                sink.tick(time.time())
            if beats % RENEW:
                continue
            try:
                for lease in self.leases:
                    self.store.locks.renew(lease)
            except StoreError as error:
                return wire.stop(error)  # a rollout still has to turn back
            except Locked as error:
                self.error = error
                work.cancel()
                return None

    def _listen(self, work: asyncio.Task[ExitCode], wire: Wire) -> None:
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if self.signal is not None:
                if number is signal.SIGHUP:  # a terminal that closes sends it twice: itself, and by its shell
                    return
                os._exit(128 + number)
            self.signal = number
            if number is signal.SIGINT:
                wire.abort()
            elif self.crew is not None:
                self.crew.leaving = True
            work.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it is
                loop.add_signal_handler(number, stop, number)

    def _interrupted(self) -> ExitCode:
        if self.error is not None:
            return self.error.exit_code
        return ExitCode.INTERRUPTED if self.signal in (None, signal.SIGINT) else ExitCode.TERMINATED

    def _last_commit(self, recorder: Recorder) -> bool:
        """Whether all that happened is written down."""
        try:
            recorder.used()
            recorder.commit()
        except CiflowError as error:
            self.error = self.error or error
            return False
        return True

    def _end(self, code: ExitCode) -> None:
        event = Event(
            kind="run_ended", run=self.id, at=time.time(), data={"exit": int(code), "result": code.name.lower()}
        )
        try:
            self.store.append([event], self.leases[0])
        except CiflowError as error:
            self.error = self.error or error
        for sink in self.sinks:
            sink.event(event)
        for lease in self.leases[1:]:
            free(self.store, lease)
        if code in (ExitCode.OK, ExitCode.ROLLED_BACK) and self.error is None:
            self._forget()

    def _forget(self) -> None:
        """The keys of runs that are over; of a release that a rollback may have to deploy again it is kept."""
        if all(stage.play.canary is None for stage in self.plan.stages):
            return self.store.keys.forget(self.id)
        kept, past = to_keep(releases := history(self.store)), {release.run for release in releases}
        for run in {self.id, *past} - kept:
            self.store.keys.forget(run)
        return None


def free(store: Store, lease: Lease) -> None:
    """Give a lock back, if it is still ours."""
    try:
        store.locks.release(lease)
    except (Locked, StoreError):
        return  # somebody has taken it over, or the disk is full: it is not ours to free any more


def project_of(request: Request) -> str:
    """Two applies of one playbook and inventory exclude each other, wherever they were started."""
    inventory = ",".join(str(Path(source).absolute()) for source in request.inventory)
    subject = f"|{request.subject}" if request.subject else ""
    return f"project:{Path(request.playbook).absolute()}|{inventory}{subject}"
