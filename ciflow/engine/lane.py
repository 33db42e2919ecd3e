"""One host in one stage: its variables, its connection, and its own run of tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import CiflowError, Diagnostic, Invalid
from ciflow.engine.connect import LOGIN_USER, connection_for
from ciflow.engine.context import HostValues, RunContext
from ciflow.engine.drive import sleep_only
from ciflow.engine.ephemeral import made_for
from ciflow.engine.keys import Key
from ciflow.engine.link import Connection
from ciflow.engine.names import delegate
from ciflow.engine.notify import name_of, notify
from ciflow.engine.result import HostFailed, Result
from ciflow.engine.wire import Wire
from ciflow.lang.at_once import at_once, made_at_once
from ciflow.lang.lookups import expand
from ciflow.lang.schema import module_schema
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope, SomeFacts, View
from ciflow.lang.sources import task_folders
from ciflow.lang.template import keyword, render, render_text
from ciflow.lang.template_vars import file_variables
from ciflow.lang.variables import Learnt, layers_for
from ciflow.model import EMPTY, Become, Context, Hold, Host, Loop, Render, Reply, Task

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun


FACTS_AT_START = "gather_facts"  # in the path of the task that reads them; the subsets behind it


def subsets_of(task: Task) -> tuple[str, ...]:
    """Which subsets of facts a task of the engine's own reads; () where it is all of them, or anybody else's task."""
    return task.path[1:] if task.path[:1] == (FACTS_AT_START,) else ()


class Lane:
    """What one host is in one stage. `extra` are variables the stage itself gives (a slot, a release)."""

    def __init__(self, stage: StageRun, host: Host, values: HostValues, extra: Mapping[str, Any] = EMPTY) -> None:
        self.stage = stage
        self.run: RunContext = stage.run
        self.host = host
        self.values = values
        self.extra = dict(extra)
        self.answers: Mapping[str, Any] = EMPTY  # to lookups of the task in hand, for what is asked beside it
        self.key = Key(self.run.id, stage.id, host.name, ())
        self.name = f"{stage.id}|{host.name}"
        self.notified: dict[str, None] = {}
        self.state = "ok"  # ok, failed, unreachable, ended
        self.last_failure: HostFailed | None = None
        self.rescued: HostFailed | None = None  # its own failure that the last `rescue` was for
        self.changed = False
        self.role_runs: dict[str, tuple[str, ...]] = {}  # uses of roles of which a task ran, by their key: where
        self.fatal_seen = 0  # how many failures that are everybody's it has taken part in
        self.roles_ended: set[tuple[str, ...]] = set()  # uses of roles that `meta: end_role` has left
        self.learning: asyncio.Task[Result] | None = None  # its facts being read
        self._made_of: tuple[object, ...] = ()
        self._kept: tuple[Layer, ...] = ()

    @property
    def wire(self) -> Wire:
        return self.run.wire

    # --- variables ---------------------------------------------------------------------------------------

    def scope(self, task: Task | None = None, answers: Mapping[str, Any] | None = None) -> Scope:
        """Everything a template of `task` can see here, the winner first (Ansible's order)."""
        answers = {**self.stage.answers, **self.answers} if answers is None else answers
        magic = Layer(Level.MAGIC, self._magic(task, answers), data=True, lazy=True)
        below = self._seen() if task is None else self._layers(task)
        values = self.values
        found = Scope((magic, *below), render, answers, facts_known=values.facts_known, vault=self.run.files.vault)
        some = lambda: SomeFacts(values.short(values.facts))  # noqa: E731
        lacking = {} if values.facts_known else {"ansible_facts": some}
        least = Layer(Level.KEYWORDS, {"ansible_host": partial(self._address, found), **lacking}, lazy=True)
        found.layers = (*found.layers, least)
        return found.child(self.extra, Level.MAGIC) if self.extra else found

    def _layers(self, task: Task | None) -> tuple[Layer, ...]:
        """All layers but those of the magic variables."""
        values = self.values
        found = layers_for(
            self.run.plan.playbook,
            self.stage.play,
            self.host,
            inventory=self.run.inventory,
            task=task,
            learnt=Learnt(values.facts, values.facts_known, values.set_facts, values.included),
            vars_files=self.stage.chosen.of(self.host),
            extra=self.run.extra,
        )
        return found.layers[1:]

    def _seen(self) -> tuple[Layer, ...]:
        """The layers of no task in particular, kept for as long as none is replaced: who loops over `hostvars` asks for
        those of each host, and does so on each host."""
        values, stage = self.values, self.stage
        made_of = (stage.play, self.run.inventory, stage.chosen.of(self.host), values.facts, values.facts_known,
                   values.set_facts, values.included)  # fmt: skip
        if any(now is not then for now, then in zip_longest(made_of, self._made_of)):
            self._made_of, self._kept = made_of, self._layers(None)
        return self._kept

    def _address(self, scope: Scope) -> str:
        """`ansible_host` where nobody gives it: the host's own name, as in Ansible."""
        return str(scope.get("ansible_ssh_host") if "ansible_ssh_host" in scope else self.host.name)

    def _magic(self, task: Task | None, answers: Mapping[str, Any]) -> Mapping[str, Any]:
        failure = self.rescued
        failed = {
            "ansible_failed_task": lambda: _told_of(failure.task, self.called(failure.task)),
            "ansible_failed_result": lambda: dict(failure.result.values),
        } if failure is not None else {}  # fmt: skip
        whole = {"vars": lambda: View(partial(self.scope, task, answers)),
                 "hostvars": partial(self.stage.hostvars, answers)}  # fmt: skip
        of_task = self._of_task(task, answers) if task is not None else {}
        return {**self.stage.magic, **self._of_host(), **whole, **of_task, **failed}

    def _of_task(self, task: Task, answers: Mapping[str, Any]) -> Mapping[str, Callable[[], Any]]:
        """Magic variables that say where a task comes from and where it goes."""
        found: dict[str, Callable[[], Any]] = {"ansible_search_path": lambda: _searched(task, self.run.folder)}
        if task.role:
            names = ("role_name", "ansible_role_name")
            found |= {**{name: lambda: task.role for name in names}, "role_path": lambda: task.role_path}
        if task.role_run is not None and (parents := task.role_run.parents):
            found["ansible_parent_role_names"] = lambda: [name for name, _ in parents]
            found["ansible_parent_role_paths"] = lambda: [path for _, path in parents]
        if task.delegate_to is not None:
            found["ansible_delegated_vars"] = lambda: self.delegated(task, self.scope(task, answers))
        return found

    def delegated(self, task: Task, scope: Scope) -> Mapping[str, Any]:
        """The variables of the host that a task is delegated to, by its name; `scope` has the item of its loop."""
        name = delegate(task, scope)
        other = self.run.host(name) or self.run.inventory.unlisted(name)
        return {name: View(lambda: self.stage.scope_of(other, scope.answers))} if name else {}

    def _of_host(self) -> Mapping[str, Callable[[], Any]]:
        name = self.host.name
        return {
            "inventory_hostname": lambda: name,
            "inventory_hostname_short": lambda: name.split(".")[0],
            "group_names": self._groups,
        }

    def _groups(self) -> list[str]:
        """The groups it is in now: tasks may have put it into more of them."""
        return sorted(set((self.run.host(self.host.name) or self.host).groups) - {"all"})

    def items(self, loop: Loop, scope: Scope, module: str) -> list[Any]:
        """The items that a loop goes over."""
        return expand(loop, scope, module)

    def render_file(self, step: Render, task: Task, scope: Scope) -> str:
        """A template file's text with this host's variables; `src` was found on the controller already."""
        path = str(step.src)
        content = self.run.files.read(path).decode("utf-8", "surrogateescape")
        name, dest = str(step.vars.get("template_path", path)), step.vars.get("template_destpath")
        own = scope.child(file_variables(scope, name, path, dest), Level.MAGIC, lazy=True)
        find = self._included_by(path, task_folders(task, self.run.folder))
        return render_text(content, path, own, dict(step.options), find)

    def _included_by(self, path: str, folders: tuple[str, ...]) -> Callable[[str], tuple[str, str] | None]:
        """Finds what the template file at `path` includes: in the folders of its task, then beside it."""

        def find(name: str) -> tuple[str, str] | None:
            files = self.run.files
            for folder in (*folders, str(Path(path).parent)):
                for candidate in (f"{folder}/templates/{name}", f"{folder}/{name}"):
                    if files.exists(candidate):
                        return candidate, files.read(candidate).decode("utf-8", "surrogateescape")
            return None

        return find

    def called(self, task: Task) -> str:
        """A task's name, rendered for this host where that is possible."""
        if isinstance(task.name, str):
            return name_of(task)
        try:
            return name_of(task, self.scope(task))
        except (CiflowError, Need, NeedFacts):
            return name_of(task)

    # --- where and how -----------------------------------------------------------------------------------

    def connection_for(self, task: Task, scope: Scope) -> Connection:
        """The host itself, or the one that the task is delegated to (with that host's own connection)."""
        found = self._connection_for(task, scope)
        if self.run.away and found.kind == "local":
            text = "this task works on the controller's machine, and the worker that has its host is on another"
            raise Invalid([Diagnostic("error", "CF0530", text, task.span)])
        return found

    def _connection_for(self, task: Task, scope: Scope) -> Connection:
        name = delegate(task, scope)
        if not name:
            return self._guarded(self._own_connection(task.become, scope))
        other = self.run.host(name) or self.run.inventory.unlisted(name)
        own = self.stage.scope_of(other, scope.answers)
        return self._guarded(connection_for(other, own, task.become, self.run.reach))

    def _guarded(self, connection: Connection) -> Connection:
        """Its passwords are never shown from now on."""
        become = connection.become
        for secret in (connection.password, connection.passphrase, become.password if become else ""):
            if secret:
                self.run.mask.add(secret)
        return connection

    def connection(self) -> Connection:
        """The host under its login user, or as its variables say."""
        found = partial(self._own_connection, LOGIN_USER)
        return self._guarded(made_at_once(found, self.scope(), self.run.files, self.stage.play.span))

    def _own_connection(self, become: Become, scope: Scope) -> Connection:
        return connection_for(self.host, scope, become, self.run.reach, made_for(self))

    def at_once(self, value: Any, task: Task | None = None, default: Any = None) -> Any:
        """A keyword's value where nothing may be waited for. Raises Invalid where it would have to be."""
        return at_once(value, self.scope(task), self.run.files, default)

    def checks(self, task: Task, scope: Scope) -> bool:
        """Whether the task only predicts."""
        given = None if task.check_mode is None else keyword(task.check_mode, scope)
        return self.run.options.check if given is None else bool(given)

    def context(self, task: Task, environment: Mapping[str, str], seed: str, now: float, scope: Scope) -> Context:
        diff = None if task.diff is None else keyword(task.diff, scope)
        return Context(
            host=self.host.name,
            check=self.checks(task, scope),
            diff=self.run.options.diff if diff is None else bool(diff),
            search=task_folders(task, self.run.folder),
            environment=environment,
            artifacts=dict(self.run.artifacts if self.stage.vouched is None else self.stage.vouched),
            provenance=dict(self.run.provenance),
            run=self.run.id,
            seed=seed,
            workdir=self.run.options.workdir,
            now=now,
            verbosity=self.run.options.verbosity,
        )

    async def hold(self, task: Task, step: Hold, key: Key) -> Reply:
        """Time passes, or where there is none to pass, a person at the terminal presses a key."""
        if step.seconds or not step.prompt:
            return await sleep_only(step, key)
        if self.run.person is None:
            return Reply(ok=False, error="there is no terminal to ask at")
        began = time.monotonic()
        typed = await self.run.person.ask(f"[{self.called(task)}]\n{step.prompt} ", secret=step.secret)
        return Reply(data={"command": typed}, duration=time.monotonic() - began, started=time.time())

    # --- what happened -----------------------------------------------------------------------------------

    def finished(self, task: Task, key: Key, result: Result, duration: float, *, secret: bool = False) -> None:
        """Take in a result: register, facts, notifications; and write it down."""
        self.take_in(task, result)
        if task.role_run is not None and result.status != "skipped":
            self.role_runs.setdefault(task.role_run.key, place_of(key.path, task))
        self.stage.report(self, task, key, result, duration, secret=secret)
        if result.values.get("changed") and result.status == "changed":
            self.changed = True
            for name in task.notify:
                notify(self, name, task)

    def take_in(self, task: Task, result: Result) -> None:
        """What the host knows from now on, and what the task found out about other hosts."""
        if task.register:
            self.values.set_facts[task.register] = dict(result.values)
        self._learn(task, result.facts)
        for name, facts in result.others.items():
            if (other := self.stage.lane_of(name)) is not None:
                other._learn(task, facts)

    def _learn(self, task: Task, facts: Mapping[str, Any]) -> None:
        if task.module == "set_fact":
            self.values.set_facts.update(facts)
        elif facts:
            self._learn_facts(task, facts)

    def _learn_facts(self, task: Task, facts: Mapping[str, Any]) -> None:
        whole, some = task.module == "setup", frozenset(subsets_of(task))
        if some:
            from ciflow.modules.facts import SUBSETS

            whole = (some | self.values.subsets) >= SUBSETS.keys()
        self.values.learn(facts, whole=whole, subsets=some)

    def retrying(self, key: Key, number: int, attempts: int) -> None:
        data = {"attempt": number, "of": attempts + 1, "why": "`until` does not hold yet"}
        self.run.recorder.emit("retry", data, play=self.stage.id, host=self.host.name, task=key.task, key=str(number))
        self.wire.schedule()


def place_of(path: tuple[str, ...], task: Task) -> tuple[str, ...]:
    """Where in the run the use of a role stands that a task with this path belongs to: up to where the path last names
    it. Behind that comes the task's place in the role, through whatever files the role includes."""
    assert task.role_run is not None
    place = task.role_run.place
    ends = range(len(path), len(place) - 1, -1)
    return next((path[:end] for end in ends if path[end - len(place) : end] == place), path)


def _told_of(task: Task, name: str) -> dict[str, Any]:
    """A task as data, in Ansible's words: what a rescue may want to say of it. Its templates are shown as written."""
    args = {"_raw_params" if key == module_schema(task.module).free_form else key: _written(value)
            for key, value in task.args.items()}  # fmt: skip
    when = [_written(one) for one in task.when]
    return {"name": name, "action": task.module, "args": args, "register": task.register or None,
            "tags": sorted(task.tags), "when": when, "delegate_to": _written(task.delegate_to)}  # fmt: skip


def _written(value: Any) -> Any:
    return str(getattr(value, "source", value)) if not isinstance(value, bool | int | float | None) else value


def _searched(task: Task, playbook: str) -> list[str]:
    """Where lookups search for a task's files."""
    return list(dict.fromkeys(str(Path(folder).absolute()) for folder in task_folders(task, playbook)))
