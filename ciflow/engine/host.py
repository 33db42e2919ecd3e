"""What a walk asks of its stage, for one host: the barrier, starting tasks, the engine's own words, sending ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.diagnostics import Invalid, Refused, TargetError
from ciflow.engine.debugger import Debugger, Quit, stops
from ciflow.engine.include import Found, included
from ciflow.engine.lane import place_of
from ciflow.engine.names import TELLING, looks_around, reaches, retried, told_by
from ciflow.engine.pace import Position
from ciflow.engine.rendering import Rendering
from ciflow.engine.result import FailedByOthers, HostEnded, HostFailed, PlayEnded, Result, broken
from ciflow.lang.scope import Scope
from ciflow.lang.template import render
from ciflow.model import Node, Task, Template
from ciflow.modules import MODULES

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun
    from ciflow.engine.walk import Started, Walk

ENGINE_WORDS = frozenset({"include_tasks", "include_role", "include_vars", "meta"})

# Modules whose failure the host itself sees (exit code, file error), so that its guard decides as the engine would.
JUDGED_BY_HOST = frozenset(
    {"command", "shell", "raw", "script", "copy", "template", "file", "lineinfile", "blockinfile", "replace"}
    | {"stat", "slurp", "tempfile", "ping"}
    # These ask nothing of the host: the guard of the task before is passed on.
    | {"debug", "set_fact", "assert", "validate_argument_spec"}
)

# Modules that read a source on the controller, unless it lies on the host or stands in the playbook.
READ_ON_CONTROLLER = frozenset({"copy", "template", "unarchive"})


class HostStage:
    """Implements walk.Stage."""

    def __init__(self, stage: StageRun, lane: Lane) -> None:
        self.stage = stage
        self.lane = lane
        self._prefix: tuple[str, ...] = ()
        self._local: bool | None = None

    async def pace(self, task: Task, position: Position, before: Task | None) -> bool:
        """Wait at the barrier, except between tasks that no other host can see. Whether `--step` lets it run."""
        if self.stage.strategy == "linear" and not self.stage.pace.alone:
            free = before is not None and _own_files(before) and _own_files(task) and not self._across(task)
            if not free:
                await self.stage.pace.enter(self.lane.name, position)
        self._fail_with_others()
        if self.stage.over:
            raise HostEnded
        stepper = self.lane.run.stepper
        if stepper is None or task.module == "meta":
            return True
        key = replace(self.lane.key, host="", path=(*self._prefix, *task.path))
        return await stepper.lets(str(key), self.lane.called(task))

    async def settle(self, position: Position, last: Task | None) -> None:
        """After the last task of a list: when it may fail all hosts, wait until all have ended it."""
        play = self.stage.play
        fatal = play.any_errors_fatal or play.max_fail_percentage is not None
        if self.stage.strategy == "linear" and last is not None and (fatal or last.any_errors_fatal):
            await self.stage.pace.enter(self.lane.name, position)
            self._fail_with_others()

    def _fail_with_others(self) -> None:
        if (failure := self.stage.failures.of_others(self.lane)) is not None:
            raise failure

    def start(self, task: Task, before: Started | None) -> Started:
        return self.stage.start(self.lane, task, (*self._prefix, *task.path), before)

    def passes_by(self, task: Task) -> bool:
        """Whether its role has ended here (`meta: end_role`), or ran before and is not to run twice."""
        use = task.role_run
        if use is None:
            return False
        place = place_of((*self._prefix, *task.path), task)
        if any(place[: len(ended)] == ended for ended in self.lane.roles_ended):
            return True
        return use.once and self.lane.role_runs.get(use.key, place) != place

    def is_engine_word(self, task: Task) -> bool:
        return task.module in ENGINE_WORDS

    async def engine_word(self, task: Task, position: Position, walk: Walk) -> None:
        """Includes and `meta`: they change what comes next instead of changing a host."""
        if task.module == "meta":
            return await self._meta(task, position, walk)
        self.stage.announce(self.lane, task, (*self._prefix, *task.path))
        for number, (nodes, prefix) in enumerate(await self._included(task)):
            await self._under(prefix, walk, nodes, (*position, number))
        return None

    async def _included(self, task: Task) -> list[Found]:
        if task.module != "include_vars" and self.stage.once.holds_for(self.lane, task):
            return await self.stage.once.included(self.lane, task, self._prefix)
        return await included(self.lane, task, self._prefix)

    async def _under(self, prefix: tuple[str, ...], walk: Walk, nodes: tuple[Node, ...], position: Position) -> None:
        """Walk nodes whose tasks are keyed under `prefix`."""
        outer, self._prefix = self._prefix, prefix
        try:
            await walk.nodes(nodes, position)
        finally:
            self._prefix = outer

    async def flush(self, walk: Walk, position: Position) -> None:
        """Run the handlers that this host's tasks notified, once each, in the order they are written.

        A handler that a later one notifies runs in another round; those that notify each other for ever wait for the
        next flush some time. Where and in which round is a part of the key: a handler that runs twice in a play does
        its work twice.
        """
        notified = self.lane.notified
        for turn in range(len(self.stage.play.handlers) + 1):
            if not notified:
                return
            prefix = (*self._prefix, "flush." + ".".join(map(str, (*position, turn))))
            for number, handler in enumerate(self.stage.play.handlers):
                if notified.pop("/".join(handler.path), ...) is None:
                    await self._under(prefix, walk, (handler,), (*position, turn, number))
        if notified:
            text = f"{self.stage.play.name}: handlers notify each other for ever: {', '.join(notified)}"
            self.lane.run.wire.warn(text)

    async def _meta(self, task: Task, position: Position, walk: Walk) -> None:
        word = str(task.args.get("free_form") or task.args.get("action") or task.args.get("_raw") or "")
        key = replace(self.lane.key, path=(*self._prefix, *task.path))
        try:
            if not await Rendering(self.lane, task, key).when(key):
                return
        except (Invalid, TargetError, HostFailed) as error:
            raise HostFailed(task, broken(error), key) from error
        if word == "flush_handlers":
            await self.flush(walk, position)
        elif word == "end_host":
            raise HostEnded
        elif word == "end_role":
            self.lane.roles_ended.add(place_of(key.path, task))
        elif word == "clear_host_errors":
            self.stage.failures.clear()
        elif word == "refresh_inventory":
            self.lane.run.hosts.refresh(self.lane.run.recorder, f"{replace(key, host='')}|inventory")
        elif word in ("end_play", "end_batch"):
            raise PlayEnded(batch=word == "end_batch")
        elif word == "clear_facts":
            self.lane.values.forget()
        elif word == "reset_connection":
            self.lane.wire.reset(self.lane.host.name)
        elif word != "noop":
            raise Refused(f"`meta: {word}` is not built")

    def may_follow(self, flying: list[Task], task: Task) -> bool:
        """Whether `task` may leave before the results of the tasks in flight are known."""
        before = flying[-1]
        if self.lane.run.stepper is not None or before.debugger != "never":
            return False
        if self.stage.strategy == "linear" and not self.stage.pace.alone:
            alike = _own_files(before) and _own_files(task) and not self._across(task)
            if not alike:
                return False
        if self.lane.run.options.check or not (_judged_by_host(before) and _plain_run(task)):
            return False
        if before.become != task.become:
            return False
        told = frozenset().union(*(told_by(one) for one in flying if one.register or one.module in TELLING))
        if task.module == "template" and told:
            return False
        asked = self._asked(task)
        if asked & {"ansible_failed_task", "ansible_failed_result"}:
            return False
        scope = self.lane.scope(task) if asked or told else Scope((), render)  # it names no variable
        if told and reaches(asked, told, scope):
            return False
        return not (self._reads_at_home(task) or looks_around(task, asked, scope, at_home=self._at_home()))

    def _reads_at_home(self, task: Task) -> bool:
        """Whether its module reads a file on the controller that a task in flight may be about to write there."""
        reads = task.module == "script" or (task.module in READ_ON_CONTROLLER and "src" in task.args)
        return reads and self._at_home()

    def _at_home(self) -> bool:
        """Whether the host is the controller itself, or may be: how it is reached is for a lookup to say."""
        if self._local is None:
            try:
                self._local = self.lane.connection().kind == "local"
            except Invalid:
                return True
        return self._local

    async def debugged(self, started: Started, result: Result) -> Result:
        """The result that counts after a person has looked at it, where `debugger` says that one should."""
        task = started.task
        word = str(task.debugger if task.debugger == "never" else self.lane.at_once(task.debugger, task))
        debugger = Debugger(self.lane, task, started.key)
        tries = 0
        while stops(word, result):
            try:
                again = await debugger.next(result)
            except Quit:
                self.stage.abort("somebody quit the debugger")
                raise HostEnded from None
            if again is None:
                break
            if result.bad:
                self.rescued(HostFailed(task, result, started.key))
            tries += 1
            started = self.stage.start(self.lane, again, (*self._prefix, *task.path, f"again{tries}"), None)
            result = await started.result
        return result

    def rescued(self, failure: HostFailed) -> None:
        self.lane.last_failure = failure
        if isinstance(failure, FailedByOthers):
            return
        self.lane.rescued = failure
        said = "what went wrong is hidden by `no_log`" if failure.task.no_log is not False else str(failure)
        data = {"status": "rescued", "duration": 0.0, "msg": said, "module": failure.task.module}
        data |= {"name": self.lane.called(failure.task), "outcome": {}}
        key = failure.key.task
        recorder = self.lane.run.recorder
        recorder.emit("task_ended", data, play=self.stage.id, host=self.lane.host.name, task=key, key="rescued")

    def forgives(self, failure: HostFailed) -> bool:
        return self.stage.failures.forgives(failure)

    def failed(self, failure: HostFailed) -> None:
        self.lane.last_failure = failure
        self.stage.failures.seen(self.lane, failure)

    def _asked(self, task: Task) -> frozenset[str]:
        return self.stage.asked(task, (*self._prefix, *task.path))

    def _across(self, task: Task) -> bool:
        """Whether the task looks at other hosts, or fails them all."""
        play = self.stage.play
        return bool(
            task.run_once
            or task.delegate_to is not None
            or task.throttle
            or play.any_errors_fatal
            or task.any_errors_fatal
            or play.max_fail_percentage is not None
            or self._asked(task) & {"hostvars", "ansible_play_hosts", "ansible_play_batch", "play_hosts"}
        )


def _own_files(task: Task) -> bool:
    module = MODULES.get(task.module)
    return module is not None and module.own_files


def _judged_by_host(task: Task) -> bool:
    """Whether its success is what the host takes for success: then the next may be guarded by it."""
    if task.module not in JUDGED_BY_HOST or retried(task) or task.loop is not None:
        return False
    if task.failed_when is not None or task.ignore_errors is not False or task.run_once or task.delegate_to is not None:
        return False
    return not (task.timeout or task.async_limit) and not any(isinstance(c, Template) for c in task.changed_when or ())


def _plain_run(task: Task) -> bool:
    """Whether it may wait its turn on the host: what it does there happens in the lane's order, and no clock runs."""
    plain = task.module in MODULES and task.module != "pause" and not task.run_once and task.delegate_to is None
    return plain and not (task.timeout or task.async_limit)
