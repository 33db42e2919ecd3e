"""One task's templates on one host: rendered where they can be, with lookups and facts fetched when they are asked for.

No I/O happens inside Jinja. Rendering raises Need for a lookup and NeedFacts for a fact; both are performed here, and
the template is rendered again. What came out is recorded under the task's key, so that a resumed run decides alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.engine.keys import Key
from ciflow.lang.kinds import duration, fit
from ciflow.lang.scope import MISSING, Level, Need, NeedFacts, Scope
from ciflow.lang.template import evaluate, failing, keyword
from ciflow.model import EMPTY, Loop, Render, Reply, Task

if TYPE_CHECKING:
    from ciflow.engine.lane import Lane

T = TypeVar("T")


class AsksForItself(Invalid):
    """What reads a host's facts asks for one of them."""


class Rendering:
    """The templates of `task` on `lane`; `key` is where the task stands in the run. Faults are raised as Invalid."""

    def __init__(self, lane: Lane, task: Task, key: Key, answers: dict[str, Any] | None = None) -> None:
        self.lane = lane
        self.task = task
        self.key = key
        self.secret = task.no_log is not False  # until the template of `no_log` says otherwise
        self.answers: dict[str, Any] = {} if answers is None else answers  # to lookups
        self._base: Scope | None = None  # made once: what it has rendered serves the task's next template

    def scope(self, extra: Mapping[str, Any] = EMPTY) -> Scope:
        """What the task's templates see; `extra` (a loop's item, its own result) on top."""
        if self._base is None:
            self._base = self.lane.scope(self.task, self.answers)
        if not extra:
            return self._base
        inner = self._base.child(extra)
        if self.task.delegate_to is None:
            return inner
        delegated = {"ansible_delegated_vars": lambda: self.lane.delegated(self.task, inner)}
        return inner.child(delegated, Level.MAGIC, lazy=True)

    async def settle(self, make: Callable[[], T]) -> T:
        """What `make` renders, after fetching whatever it asks for."""
        while True:
            try:
                return make()
            except Need as need:
                assert need.key not in self.answers, f"a scope without its task's answers asks for {need.key}"
                key = str(self.key.below("lookup", len(self.answers)))
                run = self.lane.run
                call = self.lane.wire.call(
                    run.controller, self.lane.name, key, need.operation, probe=True, secret=self.secret
                )
                self.answers[need.key] = await asyncio.shield(call.answer)
                self._base = None
            except NeedFacts as need:
                if self._reads_facts() or not await self.lane.stage.learn_facts(self.lane, frozenset([str(need)])):
                    raise self._foreign_fact(str(need)) from need
                self._base = None

    def _reads_facts(self) -> bool:
        """Whether this is the very task that reads the host's facts: it can't wait for itself."""
        return self.lane.learning is not None and self.lane.learning is asyncio.current_task()

    def _foreign_fact(self, name: str) -> Invalid:
        if self._reads_facts():
            text, help = f"how to reach this host depends on its fact `{name}`", "write its value into the inventory"
            return AsksForItself([Diagnostic("error", "CF0210", text, self.task.span, help=help)])
        text = f"`{name}` is a fact of a host that is not in this play, and no play before has read it"
        help = "gather that host's facts first"
        return Invalid([Diagnostic("error", "CF0210", text, self.task.span, help=help)])

    async def value(self, value: Any, extra: Mapping[str, Any] = EMPTY) -> Any:
        """A keyword's value, rendered; None where it is `omit`."""
        return await self.settle(lambda: keyword(value, self.scope(extra)))

    async def holds(self, conditions: tuple[Any, ...], extra: Mapping[str, Any] = EMPTY) -> bool:
        """Whether all conditions hold."""
        return await self.settle(lambda: evaluate(conditions, self.scope(extra)))

    async def recorded(self, name: str, make: Callable[[], T], *, secret: bool = False) -> T:
        """Rendered once in the life of a run, however often it is resumed."""
        recorder = self.lane.run.recorder
        if (known := recorder.known(name)) is not MISSING:
            return known  # type: ignore[no-any-return]
        value = await self.settle(make)
        return recorder.rendered(name, lambda: value, secret=secret or self.secret)  # type: ignore[no-any-return]

    async def file(self, step: Render, key: Key, extra: Mapping[str, Any] = EMPTY) -> Reply:
        """A file of the controller, rendered and recorded; or only opened, which comes out alike after a resume."""
        files = self.lane.run.files
        content = files.read(step.src)
        vaulted = files.is_secret(step.src)
        data = {"vaulted": True} if vaulted else {}
        if step.plain:
            files.vault.secret(content.decode("utf-8", "surrogateescape"))
            return Reply(stdout=content, data=data)
        make = lambda: self.lane.render_file(step, self.task, self.scope(extra))  # noqa: E731
        text = await self.recorded(str(key), make, secret=vaulted)
        return Reply(stdout=text.encode("utf-8", "surrogateescape"), data=data)

    async def when(self, key: Key, extra: Mapping[str, Any] = EMPTY) -> bool:
        """Whether the task's `when` lets it run, for one item."""
        return not await self.denied(key, extra)

    async def denied(self, key: Key, extra: Mapping[str, Any] = EMPTY) -> list[Any]:
        """The condition of `when` that doesn't hold for one item, as it is written; nothing where all hold."""
        conditions = self.task.when
        if not conditions:
            return []
        found = await self.recorded(f"{key}|when", lambda: failing(conditions, self.scope(extra)))
        return list(found)

    # --- loops -------------------------------------------------------------------------------------------

    async def items(self) -> list[Any] | None:
        """The loop's items; None when `when` says no before the items can even be known."""
        loop = self.task.loop
        assert loop is not None
        try:
            return await self.recorded(
                f"{self.key}|items", lambda: self.lane.items(loop, self.scope(), self.task.module)
            )
        except Invalid:
            if self.task.when and not await self._decided_early():
                return None
            raise

    async def _decided_early(self) -> bool:
        try:
            return await self.holds(self.task.when)
        except Invalid:
            return True

    async def control(self, loop: Loop) -> Loop:
        """The loop with those of its settings known that may be templates."""
        values = [await self.value(one) for one in (loop.extended, loop.extended_allitems, loop.pause)]
        extended, whole = (fit("boolean", one, literal=False) for one in values[:2])
        return replace(loop, extended=extended, extended_allitems=whole, pause=duration(values[2]))

    async def rounds(self) -> list[Mapping[str, Any]]:
        """What each round gives to templates, where no round sees what the one before has set."""
        loop = self.task.loop
        if loop is None:
            return [EMPTY]
        items = await self.items() or []
        loop = await self.control(loop)
        return [loop_variables(loop, items, number) for number in range(len(items))]

    async def label(self, loop: Loop, item: Any, extra: Mapping[str, Any]) -> Any:
        """How an item is called: by `label`, else as it is."""
        return item if loop.label is None else await self.value(loop.label, extra)


def loop_variables(loop: Loop, items: list[Any], number: int) -> dict[str, Any]:
    """What one round of a loop gives to templates."""
    found: dict[str, Any] = {loop.var: items[number], "ansible_loop_var": loop.var}
    if loop.index_var:
        found |= {loop.index_var: number, "ansible_index_var": loop.index_var}
    if loop.extended:
        found["ansible_loop"] = _extended(items, number, whole=loop.extended_allitems)
    return found


def _extended(items: list[Any], number: int, *, whole: bool) -> dict[str, Any]:
    total = len(items)
    return {
        "index": number + 1,
        "index0": number,
        "revindex": total - number,
        "revindex0": total - number - 1,
        "first": number == 0,
        "last": number == total - 1,
        "length": total,
        **({"allitems": items} if whole else {}),
        **({"previtem": items[number - 1]} if number else {}),
        **({"nextitem": items[number + 1]} if number + 1 < total else {}),
    }
