"""What a walk asks of its stage, for one host: the barrier, starting tasks, the engine's own words, sending ahead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ciflow.diagnostics import Invalid, Refused, TargetError
from ciflow.engine.include import included
from ciflow.engine.names import looks_around, reaches, retried, told_by
from ciflow.engine.pace import Position
from ciflow.engine.rendering import Rendering
from ciflow.engine.result import HostEnded, HostFailed, PlayEnded, broken
from ciflow.model import Task, Template
from ciflow.modules import MODULES

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.stage import StageRun
    from ciflow.engine.walk import Started, Walk

ENGINE_WORDS = frozenset({"include_tasks", "include_role", "include_vars", "meta", "add_host", "group_by"})

# Modules whose failure the host itself sees (exit code, file error), so that its guard decides as the engine would.
JUDGED_BY_HOST = frozenset(
    {"command", "shell", "raw", "script", "copy", "template", "file", "lineinfile", "blockinfile", "replace"}
    | {"stat", "slurp", "tempfile", "ping"}
    | {"debug", "set_fact", "assert"}  # ask nothing of the host: the guard of the task before is passed on
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
        if self.stage.play.strategy == "linear" and not self.stage.pace.alone:
            free = before is not None and _own_files(before) and _own_files(task) and not self._across(task)
            if not free:
                await self.stage.pace.enter(self.lane.name, position)
        if self.stage.over:
            raise HostEnded
        stepper = self.lane.run.stepper
        if stepper is None or task.module == "meta":
            return True
        key = replace(self.lane.key, host="", path=(*self._prefix, *task.path))
        return await stepper.lets(str(key), self.lane.called(task))

    def start(self, task: Task, before: Started | None) -> Started:
        return self.stage.start(self.lane, task, (*self._prefix, *task.path), before)

    def is_engine_word(self, task: Task) -> bool:
        return task.module in ENGINE_WORDS

    async def engine_word(self, task: Task, position: Position, walk: Walk) -> None:
        """Includes and `meta`: they change what comes next instead of changing a host."""
        if task.module == "meta":
            return await self._meta(task, position, walk)
        if task.module in ("add_host", "group_by"):
            raise Refused(f"`{task.module}` is not built yet", help="write the hosts into the inventory")
        self.stage.announce(self.lane, task, (*self._prefix, *task.path))
        for number, (nodes, prefix) in enumerate(await included(self.lane, task, self._prefix)):
            outer, self._prefix = self._prefix, prefix
            try:
                await walk.nodes(nodes, (*position, number))
            finally:
                self._prefix = outer
        return None

    async def _meta(self, task: Task, position: Position, walk: Walk) -> None:
        word = str(task.args.get("free_form") or task.args.get("action") or task.args.get("_raw") or "")
        key = replace(self.lane.key, path=(*self._prefix, *task.path))
        try:
            if not await Rendering(self.lane, task, key).when(key):
                return
        except (Invalid, TargetError, HostFailed) as error:
            raise HostFailed(task, broken(error), key) from error
        if word == "flush_handlers":
            await self.stage.flush(walk, self.lane, position)
        elif word == "end_host":
            raise HostEnded
        elif word in ("end_play", "end_batch"):
            raise PlayEnded(batch=word == "end_batch")
        elif word == "clear_facts":
            self.lane.values.facts.clear()
            self.lane.values.facts_known = False
        elif word not in ("noop", "reset_connection", "refresh_inventory"):
            raise Refused(f"`meta: {word}` is not built")

    def may_follow(self, flying: list[Task], task: Task) -> bool:
        """Whether `task` may leave before the results of the tasks in flight are known."""
        before = flying[-1]
        if self.lane.run.stepper is not None:
            return False
        if self.stage.play.strategy == "linear" and not self.stage.pace.alone:
            alike = _own_files(before) and _own_files(task) and not self._across(task)
            if not alike:
                return False
        if self.lane.run.options.check or not (_judged_by_host(before) and _plain_run(task)):
            return False
        if before.become != task.become:
            return False
        told = frozenset().union(*map(told_by, flying))
        if task.module == "template" and told:
            return False
        asked = self.stage.asked(task)
        if asked & {"ansible_failed_task", "ansible_failed_result"}:
            return False
        scope = self.lane.scope(task)
        if told and reaches(asked, told, scope):
            return False
        return not (self._reads_at_home(task) or looks_around(task, asked, scope, at_home=self._at_home()))

    def _reads_at_home(self, task: Task) -> bool:
        """Whether its module reads a file on the controller that a task in flight may be about to write there."""
        reads = task.module == "script" or (task.module in READ_ON_CONTROLLER and "src" in task.args)
        return reads and self._at_home()

    def _at_home(self) -> bool:
        """Whether the host is the controller itself."""
        if self._local is None:
            self._local = self.lane.connection().kind == "local"
        return self._local

    def rescued(self, failure: HostFailed) -> None:
        self.lane.last_failure = failure
        said = "" if failure.task.no_log is not False else str(failure)
        data = {"status": "rescued", "duration": 0.0, "msg": said, "module": failure.task.module}
        data |= {"name": self.lane.called(failure.task), "outcome": {}}
        key = failure.key.task
        recorder = self.lane.run.recorder
        recorder.emit("task_ended", data, play=self.stage.id, host=self.lane.host.name, task=key, key="rescued")

    def failed(self, failure: HostFailed) -> None:
        self.lane.last_failure = failure

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
            or self.stage.asked(task) & {"hostvars", "ansible_play_hosts", "ansible_play_batch", "play_hosts"}
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
    return not task.timeout and not any(isinstance(c, Template) for c in task.changed_when or ())


def _plain_run(task: Task) -> bool:
    """Whether it may wait its turn on the host: what it does there happens in the lane's order, and no clock runs."""
    plain = task.module in MODULES and task.module != "pause" and not task.run_once and task.delegate_to is None
    return plain and not task.timeout
