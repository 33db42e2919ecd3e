"""Joins generators to sessions and store: every step a module or a rollout yields is answered here, nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import replace
from typing import TypeVar

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import CiflowError, Refused, TargetError, Unreachable
from ciflow.engine.jobs import Behind, Lasting, LeftBehind, lasting
from ciflow.engine.keys import Key
from ciflow.engine.link import Call, Connection, predicted, went_well
from ciflow.engine.reached import api_of
from ciflow.engine.wire import Wire
from ciflow.lang.scope import MISSING
from ciflow.model import (
    Abreast,
    Api,
    At,
    Change,
    Compile,
    Exec,
    Hold,
    Note,
    Operation,
    Probe,
    Render,
    Reply,
    Run,
    Step,
)

T = TypeVar("T")


@dataclass(slots=True)
class Chain:
    """The link between a task and the one sent ahead of its result.

    `sent` resolves when the task's declared last operation has left (its Call), or when it never will (None).
    """

    sent: asyncio.Future[Call | None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def close(self, call: Call | None) -> None:
        if not self.sent.done():
            self.sent.set_result(call)


@dataclass(slots=True)
class Driver:
    """Answers the steps of one generator. `lane` orders operations; `before` guards the first of them."""

    wire: Wire
    key: Key
    connection: Connection
    lane: str
    controller: Connection
    place_of: Callable[[str], Connection]
    render: Callable[[Render, Key], Awaitable[Reply]]
    hold: Callable[[Hold, Key], Awaitable[Reply]]
    reached: Callable[[], Awaitable[None]]  # waits for the task before; raises NotReached where it went wrong
    run: Callable[[Run, Key], Awaitable[Reply]] | None = None
    compile: Callable[[Compile], Awaitable[Reply]] | None = None
    check: bool = False
    secret: bool = False
    before: Call | None = None
    chain: Chain | None = None
    teller: Key | None = None  # the task, as events name it
    environment: Mapping[str, str] = field(default_factory=dict)  # of commands, beneath their own
    behind: Behind | None = None  # what takes long is left behind, as this job
    number: int = 0
    current: Call | None = None

    async def drive(self, steps: Generator[Step, Reply, T]) -> T:
        """Run the generator to its end. A target's failure is thrown into it, where it may be handled.

        Raises LeftBehind where it is suspended instead, for its operation goes on as a job.
        """
        reply: Reply | None = None
        error: CiflowError | None = None
        key = self.key
        while True:
            try:
                step = steps.throw(error) if error else steps.send(reply)  # type: ignore[arg-type]
            except StopIteration as stop:
                result: T = stop.value
                return result
            if error is not None:
                self._survived(error, key)
            reply, error = None, None
            key = self.key.below(self.number)
            self.number += 1
            try:
                reply = await self._answer(step, key)
            except CiflowError as caught:
                error = caught

    def _survived(self, error: CiflowError, key: Key) -> None:
        """A rollout that goes on after a lost connection is to meet the same loss when it is replayed."""
        if self.run is not None and isinstance(error, TargetError):
            self.wire.recorder.rendered(f"{key}|lost", lambda: error.message)

    async def _answer(self, step: Step, key: Key) -> Reply:
        if self.run is not None and (lost := self.wire.recorder.known(f"{key}|lost")) is not MISSING:
            raise Unreachable(str(lost))
        if isinstance(step, Probe | Change):
            if self.behind is not None and not self.check and lasting(step):
                return await self._leave(self.behind, step, key)
            return await self._perform(step, self.connection, key)
        if isinstance(step, At) and step.place == "controller" and isinstance(step.step, Probe):
            return await self._look_here(step.step)
        if isinstance(step, At):
            place = self.controller if step.place == "controller" else self.place_of(step.place)
            return await self._perform(step.step, place, key)
        if isinstance(step, Render):
            return await self.render(step, key)
        if isinstance(step, Hold):
            return await self._held(step, key)
        if isinstance(step, Abreast):
            return await self._abreast(step, key)
        if isinstance(step, Note):
            self.wire.recorder.emit(step.kind, step.data, play=key.play, host=key.host, task=key.task)
            self.wire.schedule()
            return Reply()
        if self.run is None or self.compile is None:
            raise Refused("tasks can be run from a rollout only")
        if isinstance(step, Compile):
            return await self.compile(step)
        return await self.run(step, key)

    async def _abreast(self, step: Abreast, key: Key) -> Reply:
        """Each part has a driver and keys of its own, so that a replay meets the same whoever was first."""
        parts = [
            asyncio.ensure_future(replace(self, key=key.below(number), number=0, current=None).drive(part))
            for number, part in enumerate(step.parts)
        ]
        try:
            await asyncio.gather(*parts)
        finally:
            for part in parts:
                part.cancel()
        return Reply()

    async def _perform(self, step: Probe | Change, connection: Connection, key: Key) -> Reply:
        operation = self._told(step.operation)
        if self.check and isinstance(step, Change):
            prediction = predicted(operation)
            if prediction is None:
                return Reply(status="skipped", ok=True, data={"check": True})
            operation = prediction
        if isinstance(operation, Api):
            connection = api_of(connection, operation.kind)
        before = None
        if connection is self.connection:
            before, self.before = self.before, None
        elif self.before is not None and isinstance(step, Change):  # elsewhere, where this host can't guard it
            self.before = None
            await self.reached()
        reply = await self._sent(step, operation, connection, key, before)
        if before is not None and reply.status == "skipped" and not went_well(before.answer):
            await self.reached()  # the task before made good what its operation met
            reply = await self._sent(step, operation, connection, key)
        return reply

    def _told(self, operation: Operation) -> Operation:
        """A command with the environment that all of the task have; its own wins."""
        if not self.environment or not isinstance(operation, Exec):
            return operation
        return replace(operation, env={**self.environment, **operation.env})

    async def _sent(
        self, step: Probe | Change, operation: Operation, connection: Connection, key: Key, before: Call | None = None
    ) -> Reply:
        """Send it, guarded by `before`. What a guard kept from starting may be sent again under its key."""
        call = self.wire.call(
            connection,
            self.lane,
            str(key),
            operation,
            probe=isinstance(step, Probe),
            before=before,
            secret=self.secret,
            teller=self.teller,
        )
        self.current = call
        if step.last and self.chain is not None:
            self.chain.close(call if connection is self.connection else None)
        return await asyncio.shield(call.answer)

    async def _leave(self, behind: Behind, step: Probe | Change, key: Key) -> Reply:
        """Give the operation to a supervisor on the host. What keeps it from starting is its reply."""
        operation = self._told(step.operation)
        assert isinstance(operation, Lasting)
        reply = await self._perform(Change(behind.start(operation)), self.connection, key)
        if reply.status == "done" and reply.ok:
            raise LeftBehind
        return reply

    async def _look_here(self, step: Probe) -> Reply:
        """What a task reads on the controller is the same for all its hosts: asked once, under a key of no host."""
        key = replace(self.key, host="").below("here", self.wire.recorder.digest(step.operation))
        call = self.wire.call(
            self.controller, f"{key.play}|", str(key), step.operation, probe=True, secret=self.secret, shared=True
        )
        return await asyncio.shield(call.answer)

    def give_up(self) -> None:
        """The task's time is over: what it has under way is to end."""
        if self.current is not None:
            self.wire.abort_call(self.current)

    async def _held(self, step: Hold, key: Key) -> Reply:
        """A hold ends once: what it ended with is recorded, so a resumed run doesn't wait again."""
        reply = self.wire.recorder.reply(str(key))
        if reply is None:
            reply = await self.hold(step, key)
            self.wire.recorder.replied(str(key), reply, secret=self.secret or step.secret)
            self.wire.schedule()
        if step.secret:
            self.wire.recorder.hide(str(reply.data.get("command", "")))
        return reply


async def sleep_only(step: Hold, _key: Key) -> Reply:
    """The hold of a plain task: time passes, nobody intervenes."""
    began = time.monotonic()
    await asyncio.sleep(step.seconds)
    return Reply(duration=time.monotonic() - began, started=time.time())


async def nothing_before() -> None:
    """For generators that follow no task."""


async def refuse_render(step: Render, _key: Key) -> Reply:
    """For generators that have no variables to render with."""
    raise Refused(f"nothing here can render {step.src}")
