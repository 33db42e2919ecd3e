"""One task on one host: when, loop, arguments, the module's steps, until, and what it came to.

The order is Ansible's: the loop's items first, then `when` for each item, then the arguments. Everything rendered is
recorded before it is sent, so that a resumed run does what the first one decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid, TargetError
from ciflow.engine.arguments import arguments
from ciflow.engine.drive import Chain, Driver
from ciflow.engine.jobs import Behind, Job, LeftBehind, job_id, left
from ciflow.engine.keys import Key
from ciflow.engine.link import Call
from ciflow.engine.names import delegate, retried
from ciflow.engine.rendering import AsksForItself, Rendering, loop_variables
from ciflow.engine.result import (
    HostFailed,
    NotReached,
    Result,
    broken,
    looped,
    sensible,
    skipped,
    status_of,
    values_of,
    with_exception,
    without_facts,
)
from ciflow.lang.schema import secrets_in
from ciflow.lang.scope import MISSING, opened
from ciflow.model import EMPTY, Context, Loop, Outcome, Render, Reply, Steps, Task
from ciflow.modules import MODULES
from ciflow.report.trace import Origin, task_span

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.walk import Started

RETRIES = 3  # of `until` without `retries`, as Ansible
LONGEST = 100_000_000  # seconds of a `timeout`, as Ansible
DELAY = 5.0  # seconds between tries where `delay` is omitted, as Ansible


class TaskRun:
    """Runs one task on one lane. `before` is the task whose result it was sent ahead of, if it was."""

    def __init__(self, lane: Lane, task: Task, key: Key, chain: Chain, before: Started | None) -> None:
        self.lane = lane
        self.task = task
        self.key = key
        self.chain = chain
        self.rendering = Rendering(lane, task, key)
        self._previous = before  # to be waited for before anything is said of this task
        self._guard = before  # whose operation guards the first operation of this one
        self._call: Call | None = None  # that operation, while this task has asked nothing of its host
        self._ended_before = 0.0
        self._failures = lane.run.recorder.failures(key.play, key.host, key.task)

    async def run(self) -> Result:
        """The task's result on this host; never raises for a failure of the task itself."""
        began = time.monotonic()
        try:
            result = await self._run()
            await self._pass_guard_on(result)
        except (TargetError, Invalid, HostFailed) as error:
            result = broken(error)
        finally:
            self.chain.close(None)
        await self._reached()
        result = await self._judged_finally(result)
        duration = time.monotonic() - max(began, self._ended_before)
        self.lane.finished(self.task, self.key, result, duration, secret=self.rendering.secret)
        return result

    async def _reached(self) -> None:
        """Nothing is told of a task before the one that it was sent ahead of is known to have gone well."""
        if self._previous is None:
            return
        previous, self._previous = self._previous, None
        if (await asyncio.shield(previous.result)).bad:
            raise NotReached
        self._ended_before = previous.ended or time.monotonic()  # in this very turn of the loop
        self.lane.stage.announce(self.lane, self.task, self.key.path)

    async def _pass_guard_on(self, result: Result) -> None:
        """A task that asked nothing of its host: what follows is guarded by what guarded this one."""
        if self._guard is not None and not result.bad:
            self._call = await asyncio.shield(self._guard.chain.sent)
        if not result.bad:
            self.chain.close(self._call)

    async def _run(self) -> Result:
        if self.rendering.secret:
            self.rendering.secret = bool(await self.rendering.value(self.task.no_log))
        loop = self.task.loop
        if loop is None:
            return await self._tried(EMPTY, self.key)
        items = await self.rendering.items()
        return skipped() if items is None else await self._looped(loop, items)

    async def _looped(self, loop: Loop, items: list[Any]) -> Result:
        """Every item in turn, also after one that failed. What one item sets, the next one sees."""
        loop = await self.rendering.control(loop)
        results: list[Result] = []
        learnt: dict[str, Any] = {}
        for number, item in enumerate(items):
            extra = {**learnt, **loop_variables(loop, items, number)}
            result = await self._tried(extra, self.key.below(f"item{number}"))
            learnt |= {**result.facts, **({self.task.register: result.values} if self.task.register else {})}
            label = await self.rendering.label(loop, item, extra)
            named = {loop.var: item, "ansible_loop_var": loop.var, "_ansible_item_label": label}
            result = replace(result, values={**result.values, **named})
            results.append(await self._ignored(result, extra))
            if results[-1].status == "unreachable" or await self._breaks(loop, extra, results[-1]):
                break
            if loop.pause and number + 1 < len(items) and not self._known(self.key.below(f"item{number + 1}")):
                await asyncio.sleep(loop.pause)
        return looped(results)

    async def _breaks(self, loop: Loop, extra: Mapping[str, Any], result: Result) -> bool:
        return bool(loop.break_when) and await self.rendering.holds(loop.break_when, self._with(extra, result))

    # --- one item ----------------------------------------------------------------------------------------

    async def _tried(self, extra: Mapping[str, Any], key: Key) -> Result:
        """One item. What failed before the run was resumed, or was cut short by Ctrl-C, is tried again; what went well
        is not."""
        number = 0
        while True:
            attempt = key.below(f"again{number}") if number else key
            recorded = self._known(attempt)
            try:
                result = await self._once(extra, attempt)
            except (Invalid, TargetError, HostFailed) as error:
                result = broken(error)
            if result.status == "unknown" or not (result.bad and recorded):
                return result  # what nobody knows the end of is never run again unasked
            if number >= self._failures and not self.lane.run.recorder.cut_short(str(attempt)):
                return result
            number += 1

    def _known(self, key: Key) -> bool:
        """Whether an earlier process got as far as this item, or attempt."""
        recorder = self.lane.run.recorder
        return any(recorder.known(f"{key}|{what}") is not MISSING for what in ("when", "args", "now"))

    async def _once(self, extra: Mapping[str, Any], key: Key) -> Result:
        if denied := await self.rendering.denied(key, extra):
            return skipped(denied[0])
        args = await self._arguments(extra, key)
        retries = await self._retries(extra)
        number = 1
        while True:
            result = await self._attempt(args, extra, key.below(f"try{number}"), number)
            if not retried(self.task) or result.status == "unreachable" or await self._until(extra, result):
                return result
            if number > retries:
                return self._given_up(result)
            number += 1
            if not self._known(key.below(f"try{number}")):
                self.lane.retrying(self.key, number - 1, retries)
                await asyncio.sleep(await self._delay(extra))

    def _given_up(self, result: Result) -> Result:
        """`until` never held: a failure, unless `failed_when` has said what one is, as in Ansible."""
        if self.task.failed_when is not None:
            return result
        return replace(result, status="failed", values=with_exception({**result.values, "failed": True}))

    async def _retries(self, extra: Mapping[str, Any]) -> int:
        """Tries after the first one."""
        given = await self.rendering.value(self.task.retries, extra)
        return max(0, int(given)) if given is not None else RETRIES

    async def _delay(self, extra: Mapping[str, Any]) -> float:
        """Seconds between two tries."""
        given = await self.rendering.value(self.task.delay, extra)
        return DELAY if given is None else max(0.0, float(given))

    async def _timeout(self, extra: Mapping[str, Any]) -> float:
        """Seconds that it may take; 0 is for ever."""
        given = float(await self.rendering.value(self.task.timeout, extra) or 0)
        if not 0 <= given <= LONGEST:
            text = f"Timeout {given:.0f} is invalid, it must be between 0 and {LONGEST} seconds"
            raise Invalid([Diagnostic("error", "CF0101", text, self.task.spans.get("timeout") or self.task.span)])
        return given

    async def _until(self, extra: Mapping[str, Any], result: Result) -> bool:
        """Whether it need not be tried again: `until` says so, or without one, that it went well."""
        if self.task.until is None:
            return not result.bad
        return await self.rendering.holds(self.task.until, self._with(extra, result))

    async def _arguments(self, extra: Mapping[str, Any], key: Key) -> dict[str, Any]:
        """The arguments as the module takes them: rendered, typed, and conditions already decided."""
        task = self.task
        if task.faults:
            raise Invalid(task.faults)

        def make() -> dict[str, Any]:
            """Its secrets are known as such before the arguments are recorded."""
            made = arguments(task, self.rendering.scope(extra))
            return self._masked({name: opened(value) for name, value in made.items()})

        return self._masked(await self.rendering.recorded(f"{key}|args", make))

    def _masked(self, args: dict[str, Any]) -> dict[str, Any]:
        for secret in secrets_in(self.task.module, args):
            self.lane.run.mask.add(secret)
        return args

    async def _attempt(self, args: Mapping[str, Any], extra: Mapping[str, Any], key: Key, number: int) -> Result:
        began = time.time()
        context = await self._context(extra, key)
        driver = await self._driver(extra, key)
        if args.get("chdir"):
            self.lane.stage.folders.setdefault(str(args["chdir"]))
        if (job := self._job(args)) is not None:
            driver.connection = job.connection  # whoever started it has it under their own name
        await self._take_turn(driver)
        limit = float(await self.rendering.value(self.task.async_limit, extra) or 0)
        leaves = limit > 0 and int(await self.rendering.value(self.task.poll, extra)) == 0
        if leaves and not driver.check:
            outcome = await self._left(driver, MODULES[self.task.module].run(args, context), Behind(job_id(key), limit))
        else:
            timeout = await self._timeout(extra)
            outcome = await self._within(driver, self._steps(args, context), timeout, limit)
            if limit and not outcome.skipped:
                done = {"ansible_job_id": job_id(key), "started": True, "finished": True}
                outcome = replace(outcome, data={**outcome.data, **done})
        self._call = driver.before
        if self.task.module in ("add_host", "group_by"):
            outcome = self.lane.run.hosts.take(self.task.module, self.lane.host.name, outcome)
        values = values_of(outcome, started=max(began, self._begins()), ended=time.time(), attempts=number)
        if outcome.diff is not None:
            values["diff"] = dict(zip(("before", "after"), outcome.diff, strict=True))
        owner = await self._owner(outcome, extra)
        facts, others = (EMPTY, {owner: outcome.facts}) if owner else (outcome.facts, EMPTY)
        result = Result(status_of(values, unknown=outcome.unknown), values, facts, outcome.diff, others)
        return await self._judged(result, extra)

    def _begins(self) -> float:
        """When the task that this one was sent ahead of had ended, for only then has this one begun; in Unix seconds.
        Its reply came before this one's, so that it is ending now where it has not."""
        if self._previous is None:
            return 0.0
        return time.time() - (time.monotonic() - self._previous.ended if self._previous.ended else 0.0)

    async def _owner(self, outcome: Outcome, extra: Mapping[str, Any]) -> str:
        """The other host whose facts these are: the one delegated to, where `delegate_facts` says so."""
        if not outcome.facts or self.task.delegate_to is None:
            return ""
        theirs = await self.rendering.value(self.task.delegate_facts, extra) is True
        return await self.rendering.settle(lambda: delegate(self.task, self.rendering.scope(extra))) if theirs else ""

    def _steps(self, args: Mapping[str, Any], context: Context) -> Steps:
        """What the task does: its module, or for `async_status` the job that it asks for, where this run left it."""
        job = self._job(args)
        steps = job.asked(args) if job is not None else MODULES[self.task.module].run(args, context)
        return sensible(steps, self.task.module)

    def _job(self, args: Mapping[str, Any]) -> Job | None:
        return self.lane.run.jobs.get(str(args.get("jid"))) if self.task.module == "async_status" else None

    async def _within(self, driver: Driver, steps: Steps, timeout: float, limit: float) -> Outcome:
        """What the steps come to in the time that the task may take: `timeout`, or `limit` for an `async` one."""
        time_left = min(filter(None, (timeout, limit)), default=None)
        try:
            return await asyncio.wait_for(driver.drive(steps), time_left)
        except TimeoutError:
            driver.give_up()
            if time_left == timeout:
                data = {"timedout": {"period": timeout}}
                return Outcome(failed=True, msg=f"Timed out after {timeout:g} second(s).", data=data)
            return Outcome(failed=True, msg=f"async task did not complete within the requested time - {limit:g}s")

    async def _left(self, driver: Driver, steps: Steps, behind: Behind) -> Outcome:
        """Start the task and leave it. One that fails before it gets that far has failed here."""
        driver.behind = behind
        job = Job(behind.id, driver.connection, steps)
        with contextlib.suppress(LeftBehind):
            job.outcome = await driver.drive(steps)
        if job.outcome is not None and (job.outcome.failed or job.outcome.skipped):
            return job.outcome
        self.lane.run.jobs[job.id] = job
        return left(job.id)

    async def _take_turn(self, driver: Driver) -> None:
        """Sent ahead: go right behind the last operation of the task before, under its guard."""
        if self._guard is None:
            return
        guard, self._guard = self._guard, None
        call = await asyncio.shield(guard.chain.sent)
        if call is None or call.connection != driver.connection:
            await self._reached()
        else:
            driver.before = call

    async def _driver(self, extra: Mapping[str, Any], key: Key) -> Driver:
        rendering = self.rendering
        single = self.task.loop is None and not retried(self.task) and not self._failures

        async def render_file(step: Render, at: Key) -> Reply:
            return await rendering.file(step, at, extra)

        connection = await rendering.settle(lambda: self.lane.connection_for(self.task, rendering.scope(extra)))
        self.lane.answers = rendering.answers
        return Driver(
            wire=self.lane.wire,
            key=key,
            connection=connection,
            lane=self.lane.name,
            controller=self.lane.run.controller,
            place_of=self.lane.stage.connection_of,
            render=render_file,
            hold=partial(self.lane.hold, self.task),
            reached=self._reached,
            check=await rendering.settle(lambda: self.lane.checks(self.task, rendering.scope(extra))),
            secret=rendering.secret,
            chain=self.chain if single else None,
            teller=self.key,
            environment=self._traced(),
        )

    def _traced(self) -> Mapping[str, str]:
        """What commands need to know to hang what they trace below this task; nothing where nobody traces."""
        options, key = self.lane.run.options, self.key
        if not options.trace:
            return EMPTY
        origin = Origin.of(key.run, options.trace, options.tracestate)
        return origin.below(task_span(key.run, key.play, key.host, key.task, self._failures))

    async def _context(self, extra: Mapping[str, Any], key: Key) -> Context:
        environment: dict[str, str] = {}
        for layer in self.task.environment:
            try:
                rendered = await self.rendering.value(layer, extra)
            except AsksForItself:
                continue  # as Ansible does: facts are read without what is made of them
            environment |= {str(name): str(value) for name, value in (rendered or {}).items()}
        now = self.lane.run.recorder.rendered(f"{key}|now", time.time)
        scope = partial(self.rendering.scope, extra)
        return await self.rendering.settle(lambda: self.lane.context(self.task, environment, str(key), now, scope()))

    # --- judging -----------------------------------------------------------------------------------------

    async def _judged(self, result: Result, extra: Mapping[str, Any]) -> Result:
        """`changed_when` and `failed_when` have the last word; neither is asked about what was skipped.

        One that can't be decided fails the task, whose result still says what the module did.
        """
        if result.values.get("skipped"):
            return result
        values, seen, faults = dict(result.values), self._with(extra, result), result.faults
        for word, key, conditions in (("changed_when", "changed", self.task.changed_when),
                                      ("failed_when", "failed", self.task.failed_when)):  # fmt: skip
            if conditions is None:
                continue
            try:
                values[key] = values[f"{word}_result"] = await self.rendering.holds(conditions, seen)
            except Invalid as error:
                said = broken(error).values
                values |= {**said, f"{word}_result": said["msg"], "changed": values["changed"]}
                faults = error.diagnostics
                break
        values = with_exception(values)
        status = status_of(values, unknown=result.status == "unknown")
        judged = replace(result, status=status, values=values, faults=faults)
        return without_facts(judged) if judged.bad else judged

    async def _judged_finally(self, result: Result) -> Result:
        """Of a loop each item has been judged; what failed beside them has none."""
        return result if "results" in result.values and self.task.loop is not None else await self._ignored(result)

    async def _ignored(self, result: Result, extra: Mapping[str, Any] = EMPTY) -> Result:
        """`ignore_errors` and `ignore_unreachable` let the host go on; the result still says what happened."""
        if not result.bad:
            return result
        word = self.task.ignore_unreachable if result.status == "unreachable" else self.task.ignore_errors
        try:
            ignored = await self.rendering.value(word, extra) is True
        except Invalid as error:
            return broken(error)
        return replace(result, status="ignored") if ignored else result

    def _with(self, extra: Mapping[str, Any], result: Result) -> Mapping[str, Any]:
        """Variables of a round with the task's own result among them."""
        return {**extra, **result.facts, **({self.task.register: result.values} if self.task.register else {})}
