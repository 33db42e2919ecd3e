"""A whole run: stages in the order of their needs, approvals, what plays leave to one another, and the end.

The implicit order keeps Ansible's rule: the next play runs on the hosts that are left. Where none are, or a play was
cut short as a whole, no play comes after it. Explicit needs, and a canary, ask that what they need ended well.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, ExitCode, Invalid, StoreError
from ciflow.engine.approve import await_approval
from ciflow.engine.context import HostValues, RunContext
from ciflow.engine.ephemeral import make, remove
from ciflow.engine.hosts import hosts_of
from ciflow.engine.leave import keep_artifacts, outputs_of, take_artifacts
from ciflow.engine.people import People
from ciflow.engine.retain import keep_documents
from ciflow.engine.stage import StageRun
from ciflow.engine.tell import diagnostic
from ciflow.lang.scope import MISSING, Layer, Level, Scope
from ciflow.lang.template import evaluate, render
from ciflow.model import Host
from ciflow.plan import Stage
from ciflow.plan.compile import cells_of, tasks_of, text_of

if TYPE_CHECKING:
    from ciflow.engine.together import Together
    from ciflow.engine.unchanged import Unchanged


@dataclass(slots=True)
class StageEnd:
    """How a stage ended. `result`: ok, cached, failed, skipped, rolled_back or paused. `gone`: hosts that failed."""

    result: str
    reason: str = ""
    gone: frozenset[str] = frozenset()
    partly: bool = False  # it failed on some hosts, and the implicit order goes on with the others
    held: str = ""  # what ended the implicit order before it: it was skipped for that, or runs always
    exit: ExitCode = ExitCode.OK
    cleared: frozenset[str] = frozenset()  # hosts whose failures, also in earlier plays, are forgotten
    left: Mapping[str, Any] = field(default_factory=dict)  # artifacts and outputs
    passed: Mapping[str, Any] = field(default_factory=dict)  # what its end records of its inputs, and what it left

    @property
    def well(self) -> bool:
        return self.result in ("ok", "cached") or (self.result == "skipped" and not self.held)


class Engine:
    """Walks a plan. Made for one run; `execute` gives the exit code."""

    def __init__(self, run: RunContext, people: People) -> None:
        self.run = run
        self.people = people
        self.ends: dict[str, StageEnd] = {}
        self._left: dict[str, dict[str, HostValues]] = {}  # by stage: hosts' values as it left them
        self._jobs: dict[str, asyncio.Task[StageEnd]] = {}
        self._tries: dict[str, list[StageRun]] = {}  # by stage: each try of it, until it has ended
        self._groups: dict[str, asyncio.Lock] = {}
        self._cells: dict[str, asyncio.Semaphore] = {}
        self._together: dict[str, Together] = {}  # by play: the rollouts of one release

    async def execute(self) -> ExitCode:
        """All stages. Raises Paused when the run waits for somebody and the process is not to stay."""
        loop = asyncio.get_running_loop()
        self._name_what_lasts()
        for stage in self.run.plan.stages:
            self._jobs[stage.id] = loop.create_task(self._stage(stage))
        try:
            done = await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        finally:
            for job in self._jobs.values():
                job.cancel()
        for result in done:
            if isinstance(result, BaseException):
                raise result
        return self._exit_code()

    def _name_what_lasts(self) -> None:
        """Before anything runs: the tasks that no rollback undoes."""
        nodes = {id(stage.play.tasks): stage.play.tasks for stage in self.run.plan.stages}
        for task in (task for some in nodes.values() for task in tasks_of(some) if task.irreversible):
            self.run.wire.warn(f"can't be undone once it has run: {text_of(task.name)} ({task.span})")

    def _exit_code(self) -> ExitCode:
        order = (ExitCode.INTERNAL, ExitCode.ROLLED_BACK, ExitCode.PAUSED, ExitCode.LOCKED, ExitCode.INVALID)
        every = (*order, ExitCode.TASK_FAILED, ExitCode.UNREACHABLE)
        found = {end.exit for end in self.ends.values()} - {ExitCode.OK}
        return next((code for code in every if code in found), max(found, default=ExitCode.OK))

    # --- one stage ---------------------------------------------------------------------------------------

    async def _stage(self, stage: Stage) -> StageEnd:
        needed = [(self.run.plan.stage(id), await asyncio.shield(self._jobs[id])) for id in stage.needs]
        began = time.monotonic()
        held = _held(stage, needed) or self._canary_held(stage)
        values = self._values_before(stage)
        if held and not stage.play.always:
            end = StageEnd("skipped", held, held=held)
            self._emit_start(stage, stage.hosts)
        else:
            end = await self._run_stage(stage, values, _gone(stage, needed))
            if not end.cleared:
                end = replace(end, held=held)
            await remove(self._tries.pop(stage.id, ()))
        self.ends[stage.id] = end
        if stage.play.canary is not None and stage.cell:
            self._together_of(stage).ended(stage.id, end.reason or end.result, well=end.well)
        self._left[stage.id] = self._values_before(stage) if stage.cell else values
        self._emit_end(stage, end, time.monotonic() - began)
        return end

    def _canary_held(self, stage: Stage) -> str:
        """Why a rollout does not begin: it asks that all plays before it ended well, whatever it needs."""
        failed = self._failed_before(stage) if stage.play.canary is not None else ""
        return f"`{failed}` did not end well, and a canary needs all plays before it to" if failed else ""

    def _failed_before(self, stage: Stage) -> str:
        plays = self.run.plan.stages[: self.run.plan.stages.index(stage)]
        return next((s.play.name for s in plays if s.id in self.ends and not self.ends[s.id].well), "")

    async def _run_stage(self, stage: Stage, values: dict[str, HostValues], gone: frozenset[str]) -> StageEnd:
        matched = self._hosts_now(stage)
        hosts = tuple(host for host in matched if stage.play.always or host.name not in gone)
        self._emit_start(stage, hosts)
        try:
            if not hosts:
                return StageEnd("skipped", "no hosts matched" if not matched else "no hosts left", gone)
            if stage.play.when and not await self._holds(stage, hosts, values):
                return StageEnd("skipped", "`when` is false", gone)
            before = await self._unchanged(stage, hosts, values)
            if before is not None and not before.runs:
                return StageEnd(before.result, before.reason, gone)
            if stage.play.approval is not None and not await self._approved(stage, hosts, values):
                return StageEnd("failed", "not approved", exit=ExitCode.TASK_FAILED)
            async with (
                self._groups.setdefault(stage.play.concurrency or stage.id, asyncio.Lock()),
                self._cells_of(stage),
            ):
                end = await self._within_deadline(stage, hosts, values)
            if before is not None and end.result == "ok":
                end = replace(end, passed=await before.passed(end.left))
            return replace(end, gone=(end.gone | gone) - end.cleared)
        except StoreError:
            raise
        except CiflowError as error:
            if error.exit_code is ExitCode.INTERRUPTED:  # nobody answers any more: no fault of the play's
                raise
            self.error(error, stage)
            code = ExitCode.TASK_FAILED if isinstance(error, Invalid) else error.exit_code
            everyone = gone | {host.name for host in hosts}
            return StageEnd("failed", error.message, everyone, exit=code)

    def _hosts_now(self, stage: Stage) -> tuple[Host, ...]:
        """The play's hosts; chosen again when tasks have added some since the plan was made."""
        if not self.run.hosts.grown:
            return stage.hosts
        plan = self.run.plan
        inventory, extra = self.run.inventory, self.run.extra
        return hosts_of(inventory, plan.playbook, extra, stage.play, stage.cell, plan.selection.limit, self.run.files)

    def _cells_of(self, stage: Stage) -> asyncio.Semaphore:
        """Room for as many cells of a matrix at once as its `max_parallel` says."""
        most = int(stage.play.matrix.get("max_parallel") or len(self.run.plan.stages))
        return self._cells.setdefault(stage.play.id, asyncio.Semaphore(max(1, most)))

    async def _within_deadline(self, stage: Stage, hosts: tuple[Host, ...], values: dict[str, HostValues]) -> StageEnd:
        try:
            return await asyncio.wait_for(self._attempts(stage, hosts, values), stage.play.deadline or None)
        except TimeoutError:
            self.run.wire.abort_stage(stage.id)
            reason = f"the play's deadline of {stage.play.deadline:g} s is over"
            return StageEnd("failed", reason, exit=ExitCode.TASK_FAILED)

    async def _attempts(self, stage: Stage, hosts: tuple[Host, ...], values: dict[str, HostValues]) -> StageEnd:
        """The play, again as often as its `retry` says, each time with the hosts' values as they were."""
        retry = stage.play.retry
        wait = retry.delay
        for attempt in range(1, max(1, retry.attempts) + 1):
            trial = {name: known.copy() for name, known in values.items()}
            end = await self._once(stage, hosts, trial, "" if attempt == 1 else f"~{attempt}")
            if end.well or attempt >= retry.attempts:
                break
            data = {"attempt": attempt, "of": retry.attempts, "why": end.reason}
            self.run.recorder.emit("retry", data, play=stage.id, key=str(attempt))
            share = self.run.recorder.rendered(f"{stage.id}|jitter{attempt}", random.random)
            await asyncio.sleep(min(wait, retry.max_delay) * (1 + retry.jitter * share))
            wait = wait * 2 if retry.backoff == "exponential" else wait
        values.clear()
        values.update(trial)
        return end

    async def _once(
        self, stage: Stage, hosts: tuple[Host, ...], values: dict[str, HostValues], suffix: str
    ) -> StageEnd:
        work = StageRun(self.run, stage, hosts, values, suffix=suffix)
        if stage.play.artifacts:
            from ciflow.engine.provenance import began  # only who leaves something says how it was built

            began(work)
        await work.prepare()
        self._tries.setdefault(stage.id, []).append(work)
        if await take_artifacts(work):
            return StageEnd("skipped", "its artifacts are in the store")
        await make(work)
        if stage.play.canary is not None:
            from ciflow.engine.rollout import roll_out  # statistics and routers: only a rollout pays for them

            ended = await roll_out(work, self.people, self._together_of(stage))
            await keep_documents(work)
            return _canary_end(ended.result, ended.reason, work)
        await work.go()
        await keep_documents(work)
        end = _end_of(work)
        if work.failures.cleared:
            end = replace(end, cleared=frozenset(host.name for host in self._hosts_now(stage)) - end.gone)
        if end.well:
            artifacts = await keep_artifacts(work)
            outputs = await outputs_of(work) if stage.play.outputs else {}
            if outputs:
                self.run.outputs[stage.play.id] = outputs
            end = replace(end, left={"artifacts": artifacts, "outputs": outputs})
        return end

    def _together_of(self, stage: Stage) -> Together:
        """The rollouts that are one release with this stage's."""
        from ciflow.engine.together import Together

        if stage.play.id not in self._together:
            self._together[stage.play.id] = Together(cell.id for cell in cells_of(self.run.plan, stage))
        return self._together[stage.play.id]

    # --- what comes before -------------------------------------------------------------------------------

    def _values_before(self, stage: Stage) -> dict[str, HostValues]:
        """Facts and registers of the plays that this one needs."""
        found: dict[str, HostValues] = {}
        for id in stage.needs:
            for name, known in self._left.get(id, {}).items():
                found.setdefault(name, HostValues()).merge(known)
        return found

    async def _holds(self, stage: Stage, hosts: tuple[Host, ...], values: dict[str, HostValues]) -> bool:
        key, recorder = f"{stage.id}|when", self.run.recorder
        if (known := recorder.known(key)) is not MISSING:
            return bool(known)
        work = StageRun(self.run, stage, hosts, values)
        held = await work.settle("when", lambda: evaluate(stage.play.when, _scope(work)))
        return bool(recorder.rendered(key, lambda: held))

    async def _unchanged(
        self, stage: Stage, hosts: tuple[Host, ...], values: dict[str, HostValues]
    ) -> Unchanged | None:
        """Whether `affected` lets the play run; None where it isn't said."""
        if stage.play.affected is None:
            return None
        from ciflow.engine.unchanged import judged  # git and cargo: only plays that ask pay for them

        work = StageRun(self.run, stage, hosts, values)
        return await judged(work, lambda: _scope(work))

    async def _approved(self, stage: Stage, hosts: tuple[Host, ...], values: dict[str, HostValues]) -> bool:
        approval = stage.play.approval
        assert approval is not None
        work = StageRun(self.run, stage, hosts, values)
        prompt = str(await work.settle("approval", lambda: render(approval.prompt, _scope(work))))
        return await await_approval(self.run, self.people, stage.id, approval, prompt)

    # --- what is written down ----------------------------------------------------------------------------

    def _emit_start(self, stage: Stage, hosts: tuple[Host, ...]) -> None:
        data: dict[str, Any] = {"name": stage.play.name, "hosts": len(hosts), "cell": dict(stage.cell)}
        self.run.recorder.emit("play_started", {**data, "canary": stage.play.canary is not None}, play=stage.id)
        self.run.wire.schedule()

    def _emit_end(self, stage: Stage, end: StageEnd, duration: float) -> None:
        data: Mapping[str, Any] = {
            "name": stage.play.name,
            "cell": dict(stage.cell),
            "result": end.result,
            "duration": round(duration, 3),
            "reason": end.reason,
            **end.passed,
        }
        self.run.recorder.used(stage.id)
        self.run.recorder.emit("play_ended", data, play=stage.id)
        self.run.wire.schedule()

    def error(self, error: CiflowError, stage: Stage) -> None:
        """An error that is not one task's."""
        faults = error.diagnostics if isinstance(error, Invalid) else ()
        places = [str(d.span) for d in faults if d.span]
        data = {"message": error.message, "help": error.help, "places": places, **diagnostic(faults, self.run.files)}
        self.run.recorder.emit("error", data, play=stage.id)
        self.run.wire.schedule()


def _scope(work: StageRun) -> Scope:
    """What a keyword of the play sees before it begins: its first host's variables, with no fact still to come."""
    scope = work.scope_of(work.hosts[0])
    return Scope((Layer(Level.MAGIC, {}), *scope.layers), render, scope.answers, facts_known=True)


_ENDINGS = {"failed": "failed", "rolled_back": "was turned back", "paused": "is paused"}  # all that are not well


def _held(stage: Stage, needed: list[tuple[Stage, StageEnd]]) -> str:
    """Why a stage does not begin: how the first play that it waits for, and should have ended otherwise, did end."""
    for before, end in needed:
        goes_on = end.partly and stage.implicit and stage.play.canary is None
        if end.result in _ENDINGS and not goes_on:
            return f"`{before.play.name}` {_ENDINGS[end.result]}"
        if end.held and (stage.implicit or end.result == "skipped"):
            return end.held
    return ""


def _gone(stage: Stage, needed: list[tuple[Stage, StageEnd]]) -> frozenset[str]:
    """The hosts that failed in plays before: those of the implicit order have them no more."""
    return frozenset().union(*(end.gone for _, end in needed)) if stage.implicit else frozenset()


def _end_of(work: StageRun) -> StageEnd:
    failed = work.failed
    gone = frozenset(lane.host.name for lane in failed)
    if not failed and work.aborted in ("", "end_play"):
        return StageEnd("ok")
    unreachable = all(lane.state == "unreachable" for lane in failed)
    exit = ExitCode.UNREACHABLE if unreachable and failed else ExitCode.TASK_FAILED
    reason = work.aborted or f"{len(failed)} of {len(work.hosts)} hosts failed"
    return StageEnd("failed", reason, gone, partly=len(gone) < len(work.hosts) and not work.aborted, exit=exit)


def _canary_end(result: str, reason: str, work: StageRun) -> StageEnd:
    if result in ("promoted", "planned"):
        return StageEnd("ok", reason)
    if result == "rolled_back":
        return StageEnd("rolled_back", reason, exit=ExitCode.ROLLED_BACK)
    if result == "fenced":
        return StageEnd("failed", reason, exit=ExitCode.LOCKED)
    gone = frozenset(lane.host.name for lane in work.failed)
    return StageEnd("failed", reason, gone, exit=ExitCode.TASK_FAILED)
