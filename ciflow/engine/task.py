"""One task on one host: when, loop, arguments, the module's steps, until, and what it came to.

The order is Ansible's: the loop's items first, then `when` for each item, then the arguments. Everything rendered is
recorded before it is sent, so that a resumed run does what the first one decided.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ciflow.diagnostics import CiflowError, Invalid, TargetError
from ciflow.engine.drive import Chain, Driver, sleep_only
from ciflow.engine.keys import Key
from ciflow.engine.result import NotReached, Result, looped, status_of, values_of
from ciflow.lang.schema import coerce, secrets_in
from ciflow.lang.scope import MISSING, Need, Scope
from ciflow.lang.template import evaluate, render
from ciflow.model import EMPTY, Context, Outcome, Task
from ciflow.modules import MODULES

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane
    from ciflow.engine.walk import Started

T = TypeVar("T")


class TaskRun:
    """Runs one task on one lane. `before` is the task that it was sent ahead of, if it was."""

    def __init__(self, lane: Lane, task: Task, key: Key, chain: Chain, before: Started | None) -> None:
        self.lane = lane
        self.task = task
        self.key = key
        self.chain = chain
        self.before = before
        self.answers: dict[str, Any] = {}
        self.secret = bool(task.no_log)
        self.told = key  # as events name it
        if again := lane.run.recorder.failures(key.play, key.host, key.task):
            self.key = key.below(f"again{again}")

    async def run(self) -> Result:
        """The task's result on this host; never raises for a failure of the task itself."""
        began = time.monotonic()
        try:
            result = await self._run()
        except NotReached:
            raise
        except TargetError as error:
            result = _broken("unreachable", error)
        except Invalid as error:
            result = _broken("failed", error)
        finally:
            self.chain.close(None)
        result = await self._judged_finally(result)
        self.lane.finished(self.task, self.told, result, time.monotonic() - began)
        return result

    async def _run(self) -> Result:
        if self.task.loop is None:
            return await self._once(EMPTY, self.key)
        items = await self._items()
        if items is None:
            return _skipped()
        results = []
        for number, item in enumerate(items):
            extra = self._loop_variables(items, number, item)
            result = await self._once(extra, self.key.below(f"item{number}"))
            results.append(
                replace(
                    result, values={**result.values, self.task.loop.var: item, "ansible_loop_var": self.task.loop.var}
                )
            )
            if result.status == "unreachable":
                break
            if self.task.loop.pause and number + 1 < len(items):
                await asyncio.sleep(self.task.loop.pause)
        return looped(results)

    # --- loop --------------------------------------------------------------------------------------------

    async def _items(self) -> list[Any] | None:
        """The loop's items; None when `when` says no before the items can even be known."""
        loop = self.task.loop
        assert loop is not None
        try:
            return await self._recorded("items", lambda: self.lane.items(loop, self._scope(EMPTY)))
        except Invalid:
            if self.task.when and not await self._decided_early():
                return None
            raise

    async def _decided_early(self) -> bool:
        try:
            return await self._with_answers(lambda: evaluate(self.task.when, self._scope(EMPTY)))
        except Invalid:
            return True

    def _loop_variables(self, items: list[Any], number: int, item: Any) -> Mapping[str, Any]:
        loop = self.task.loop
        assert loop is not None
        found: dict[str, Any] = {loop.var: item, "ansible_loop_var": loop.var}
        if loop.index_var:
            found[loop.index_var] = number
        if loop.extended:
            found["ansible_loop"] = _extended(items, number)
        return found

    # --- one item ----------------------------------------------------------------------------------------

    async def _once(self, extra: Mapping[str, Any], key: Key) -> Result:
        if self.task.when and not await self._recorded_at(
            key, "when", lambda: evaluate(self.task.when, self._scope(extra))
        ):
            return _skipped()
        args = await self._recorded_at(key, "args", lambda: self._arguments(self._scope(extra)))
        attempts = await self._attempts(extra)
        number = 1
        while True:
            result = await self._attempt(args, extra, key.below(f"try{number}"), number)
            if self.task.until is None or result.status == "unreachable":
                return result
            scope = self._result_scope(extra, result)
            if evaluate(self.task.until, scope):
                return result
            if number > attempts:
                failed = {**result.values, "failed": True}
                return replace(result, status="failed", values=failed)
            self.lane.retrying(key, number, attempts)
            await asyncio.sleep(float(render(self.task.delay, self._scope(extra))))
            number += 1

    async def _attempts(self, extra: Mapping[str, Any]) -> int:
        if self.task.until is None:
            return 1
        return int(await self._with_answers(lambda: render(self.task.retries, self._scope(extra))))

    def _arguments(self, scope: Scope) -> dict[str, Any]:
        """The arguments as the module takes them: rendered, typed, and conditions already decided."""
        task = self.task
        if task.module == "assert":
            that = task.args.get("that", ())
            conditions = that if isinstance(that, list | tuple) else (that,)
            decided = [(str(getattr(c, "source", c)), evaluate((c,), scope)) for c in conditions]
            rest = render({k: v for k, v in task.args.items() if k != "that"}, scope)
            return {**coerce("assert", rest, task.spans), "that": decided}
        if task.module == "debug" and "var" in task.args:
            return {
                "var": str(getattr(task.args["var"], "source", task.args["var"])),
                "value": _shown(task.args["var"], scope),
            }
        found = dict(coerce(task.module, render(dict(task.args), scope), task.spans))
        for secret in secrets_in(task.module, found):
            self.lane.run.mask.add(secret)
        return found

    async def _attempt(self, args: Mapping[str, Any], extra: Mapping[str, Any], key: Key, number: int) -> Result:
        began = time.time()
        module = MODULES[self.task.module]
        context = self._context(extra, key)
        driver = self._driver(extra, key)
        await self._take_turn(driver)
        timeout = float(render(self.task.timeout, self._scope(extra)) or 0)
        try:
            outcome = await asyncio.wait_for(driver.drive(module.run(args, context)), timeout or None)
        except TimeoutError:
            driver.give_up()
            outcome = Outcome(failed=True, msg=f"the task took longer than its timeout of {timeout:g} s")
        values = values_of(outcome, started=began, ended=time.time(), attempts=number)
        result = Result(status_of(values, unknown=outcome.unknown), values, outcome.facts, outcome.diff)
        return self._judged(result, extra)

    async def _take_turn(self, driver: Driver) -> None:
        """Sent ahead: go right behind the last operation of the task before, under its guard."""
        if self.before is None:
            return
        before, self.before = self.before, None
        call = await before.chain.sent
        if call is None:
            if (await before.result).bad:
                raise NotReached
        else:
            driver.before = call

    def _driver(self, extra: Mapping[str, Any], key: Key) -> Driver:
        scope = self._scope(extra)
        single = self.task.loop is None and self.task.until is None
        return Driver(
            wire=self.lane.wire,
            key=key,
            connection=self.lane.connection_for(self.task, scope),
            lane=self.lane.name,
            controller=self.lane.run.controller,
            place_of=self.lane.stage.connection_of,
            render=lambda step: self.lane.render_file(step, scope),
            hold=sleep_only,
            check=self.lane.checks(self.task),
            secret=self.secret,
            chain=self.chain if single else None,
        )

    def _context(self, extra: Mapping[str, Any], key: Key) -> Context:
        scope = self._scope(extra)
        environment: dict[str, str] = {}
        for layer in self.task.environment:
            environment |= {str(k): str(v) for k, v in (render(layer, scope) or {}).items()}
        now = self.lane.run.recorder.rendered(f"{key}|now", time.time)
        return self.lane.context(self.task, environment, str(key), now)

    # --- judging -----------------------------------------------------------------------------------------

    def _judged(self, result: Result, extra: Mapping[str, Any]) -> Result:
        """`changed_when` and `failed_when` have the last word."""
        task, values = self.task, dict(result.values)
        if task.changed_when is not None:
            values["changed"] = evaluate(task.changed_when, self._result_scope(extra, result))
        if task.failed_when is not None and result.status != "unreachable":
            values["failed"] = evaluate(task.failed_when, self._result_scope(extra, result))
            values["failed_when_result"] = values["failed"]
        return replace(result, status=status_of(values, unknown=result.status == "unknown"), values=values)

    async def _judged_finally(self, result: Result) -> Result:
        """`ignore_errors` and `ignore_unreachable` let the host go on; the result still says what happened."""
        scope = self._scope(EMPTY)
        if result.status == "unreachable":
            return replace(result, status="ignored") if render(self.task.ignore_unreachable, scope) is True else result
        if result.bad and render(self.task.ignore_errors, scope) is True:
            return replace(result, status="ignored")
        return result

    def _result_scope(self, extra: Mapping[str, Any], result: Result) -> Scope:
        names = {self.task.register: result.values} if self.task.register else {}
        return self._scope({**extra, **names})

    # --- rendering ---------------------------------------------------------------------------------------

    def _scope(self, extra: Mapping[str, Any]) -> Scope:
        scope = self.lane.scope(self.task, self.answers)
        return scope.child(extra) if extra else scope

    async def _recorded(self, what: str, make: Callable[[], T]) -> T:
        return await self._recorded_at(self.key, what, make)

    async def _recorded_at(self, key: Key, what: str, make: Callable[[], T]) -> T:
        """Render once in the life of a run, however often it is resumed."""
        recorder = self.lane.run.recorder
        name = f"{key}|{what}"
        if (known := recorder.known(name)) is not MISSING:
            return known  # type: ignore[no-any-return]
        value = await self._with_answers(make)
        return recorder.rendered(name, lambda: value, secret=self.secret)  # type: ignore[no-any-return]

    async def _with_answers(self, make: Callable[[], T]) -> T:
        """Render; perform on the controller what lookups need, and render again."""
        while True:
            try:
                return make()
            except Need as need:
                key = self.key.below("lookup", len(self.answers))
                call = self.lane.wire.call(
                    self.lane.run.controller, self.lane.name, str(key), need.operation, probe=True, secret=self.secret
                )
                self.answers[need.key] = await asyncio.shield(call.answer)


def _shown(var: Any, scope: Scope) -> Any:
    """What `debug: var=` shows: an undefined variable is said to be so, not a failure, as in Ansible."""
    try:
        return render(var, scope)
    except Invalid:
        return "VARIABLE IS NOT DEFINED!"


def _skipped() -> Result:
    values = {"changed": False, "failed": False, "skipped": True, "unreachable": False, "msg": ""}
    return Result("skipped", {**values, "skip_reason": "Conditional result was False"})


def _broken(status: str, error: CiflowError) -> Result:
    values = {
        "changed": False,
        "failed": status == "failed",
        "skipped": False,
        "unreachable": status == "unreachable",
        "msg": error.message,
        "help": error.help,
    }
    return Result(status, values)


def _extended(items: list[Any], number: int) -> dict[str, Any]:
    total = len(items)
    return {
        "allitems": items,
        "index": number + 1,
        "index0": number,
        "revindex": total - number,
        "revindex0": total - number - 1,
        "first": number == 0,
        "last": number == total - 1,
        "length": total,
        **({"previtem": items[number - 1]} if number else {}),
        **({"nextitem": items[number + 1]} if number + 1 < total else {}),
    }
