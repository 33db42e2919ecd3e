"""`--step`: a person says of each task whether it is to run. One answer counts for all hosts, and outlives a kill."""

from __future__ import annotations

import asyncio

from ciflow.diagnostics import Refused
from ciflow.engine.questions import Person
from ciflow.engine.record import Recorder
from ciflow.lang.scope import MISSING


class Stepper:
    """Asks about tasks in the order in which hosts come to them; after `continue` about none."""

    def __init__(self, recorder: Recorder, person: Person | None) -> None:
        self._recorder = recorder
        self._person = person
        self._asked: dict[str, asyncio.Task[bool]] = {}
        self._all = False

    async def lets(self, key: str, name: str) -> bool:
        """Whether the task that stands at `key` in the run is to run."""
        if key not in self._asked:
            self._asked[key] = asyncio.get_running_loop().create_task(self._ask(f"{key}|step", name))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, key: str, name: str) -> bool:
        if self._all:
            return True
        answer = self._recorder.known(key)
        if answer is MISSING:
            if self._person is None:
                raise Refused("`--step` asks about each task, and there is no terminal to ask at")
            typed = await self._person.ask(f"Perform task: TASK: {name} (N)o/(y)es/(c)ontinue: ")
            answer = self._recorder.rendered(key, lambda: typed.strip().lower())
        self._all = answer in ("c", "continue")
        return self._all or answer in ("y", "yes")
