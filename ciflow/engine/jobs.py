"""Jobs: tasks that are left behind on their host (`async` with `poll: 0`) and asked about later.

A job is its task's own generator, suspended at the operation that was given to a supervisor on the host. Once that has
ended, `async_status` lets the generator go on with its reply, so a job comes to what the task itself would have come
to. Nothing more is kept: a resumed run walks the same way, and its jobs are made anew from the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.engine.keys import Key
from ciflow.model import Change, Detached, Exec, Http, Outcome, Probe, Reply, Step, Steps, Wait
from ciflow.modules.async_status import detached, status

Lasting = Exec | Http | Wait  # operations that may take long; all others are done with before a task is left


class LeftBehind(Exception):
    """The operation goes on apart from the play, and the generator that asked for it is suspended."""


@dataclass(frozen=True, slots=True)
class Behind:
    """How a task is left behind: the id of its job, and the seconds that it may run."""

    id: str
    limit: float

    def start(self, operation: Lasting) -> Detached:
        """The operation as work of a supervisor's own, ended when its time is over."""
        limit = min(operation.timeout or self.limit, self.limit)
        return detached(self.id, "start", (replace(operation, timeout=limit),))


def lasting(step: Probe | Change) -> bool:
    """Whether a step may be left behind: it may take long, and it is promised to be the last, or only waits."""
    return isinstance(step.operation, Lasting) and (step.last or isinstance(step.operation, Wait))


@dataclass(slots=True)
class Job:
    """One job. `outcome` is what it came to, as soon as somebody asked and it had ended."""

    id: str
    connection: Any
    steps: Generator[Step, Reply, Outcome]
    outcome: Outcome | None = None

    def asked(self, args: Mapping[str, Any]) -> Steps:
        """What `async_status` says of it."""
        outcome = yield from status(args, self._end, ended=self.outcome)
        if "erased" in outcome.data:
            self.outcome = None
        return outcome

    def _end(self, reply: Reply) -> Steps:
        """The task's generator, from the reply to the operation that it was suspended at."""
        outcome: Outcome
        try:
            step = self.steps.send(reply)
            while True:
                step = self.steps.send((yield step))
        except StopIteration as stop:
            self.outcome = outcome = stop.value
            return outcome


def job_id(key: Key) -> str:
    """The name of the job of one task, host, item and try: the same after a resume, in the form that Ansible's have."""
    number = int.from_bytes(hashlib.blake2b(str(key).encode(), digest_size=8).digest(), "big")
    return f"j{number % 10**12:012d}.{number // 10**12}"


def left(id: str) -> Outcome:
    """What a task says that was left behind."""
    return Outcome(changed=True, data={"ansible_job_id": id, "started": True, "finished": False})
