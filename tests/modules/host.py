"""This machine as a host: a module's steps, answered by a real session and its agent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ciflow.model import At, Change, Context, Hold, Note, Operation, Outcome, Probe, Reply, Step, Steps
from ciflow.modules import MODULES
from tests.golden.replay import schema
from tests.parts.session import Waiting

PATIENCE = 120.0  # seconds for one operation


@dataclass
class Host:
    """Blocking calls for tests. `asked` holds every operation of the last task."""

    waiting: Waiting
    asked: list[Operation] = field(default_factory=list)
    noted: list[Note] = field(default_factory=list)  # what the last task told the journal

    def task(self, verb: str, args: Mapping[str, Any], **context: Any) -> Outcome:
        """Run one task to its end, with the defaults of its schema."""
        defaults = {name: rule["default"] for name, rule in schema(verb)["arguments"].items() if "default" in rule}
        self.asked, self.noted = [], []
        return self._drive(MODULES[verb].run(defaults | dict(args), Context(**context)))

    def _drive(self, steps: Steps) -> Outcome:
        reply: Reply | None = None
        while True:
            try:
                step = steps.send(reply)  # type: ignore[arg-type]
            except StopIteration as end:
                outcome = end.value
                assert isinstance(outcome, Outcome)
                return outcome
            reply = self._answer(step)

    def _answer(self, step: Step) -> Reply:
        match step:
            case At():
                return self._answer(step.step)
            case Probe() | Change():
                self.asked.append(step.operation)
                return self.waiting.perform(step.operation, "lane")
            case Note():
                self.noted.append(step)
                return Reply()
            case Hold():
                time.sleep(step.seconds)
                return Reply(duration=step.seconds)
        raise AssertionError(f"no module yields {step} here")


@contextmanager
def this_machine() -> Iterator[Host]:
    waiting = Waiting(f"modules {time.time()}", f"test {time.time()}", PATIENCE)
    try:
        waiting.wait_until_ready()
        yield Host(waiting)
    finally:
        waiting.close()
