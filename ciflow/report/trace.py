"""Which trace a run is and which span each thing in it: found alike by every process that works on the run.

Whoever is started by a task hangs its own spans below the task's, before anybody has sent that one: so ids are made of
the run and of the place in it, by a hash. They are written as W3C Trace Context says (https://www.w3.org/TR/trace-context/,
"traceparent Header"), in the variables that OpenTelemetry names for processes
(https://opentelemetry.io/docs/specs/otel/context/env-carriers).
"""

from __future__ import annotations

import hashlib

from ciflow.dataclass import dataclass

SAMPLED = 1
_VERSION = "00"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run's trace comes from: its id (128 bits), the span that the run hangs below (64 bits, 0: none), the
    flags, and what vendors say of it."""

    trace: int
    above: int = 0
    flags: int = SAMPLED
    state: str = ""

    @classmethod
    def of(cls, run: str, traceparent: str, tracestate: str) -> Origin:
        """As it was written down when the run began. One that was not traced then has the trace that its id makes."""
        if not traceparent:
            return cls(_number(16, "trace", run))
        _, trace, above, flags = traceparent.split("-")
        return cls(int(trace, 16), int(above, 16), int(flags, 16), tracestate)

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    def below(self, span: int) -> dict[str, str]:
        """The environment of what is started by the thing that is this span."""
        found = {"TRACEPARENT": traceparent(self.trace, span, self.flags)}
        return {**found, "TRACESTATE": self.state} if self.state else found


def traceparent(trace: int, span: int, flags: int) -> str:
    return f"{_VERSION}-{trace:032x}-{span:016x}-{flags:02x}"


def run_span(run: str, ends: int) -> int:
    """A run's own span. `ends`: how often it has ended already, which a resume has undone."""
    return _number(8, "run", run, str(ends))


def play_span(run: str, play: str, ends: int) -> int:
    """`ends`: how often the play has, or the run while it was under way."""
    return _number(8, "play", run, play, str(ends))


def step_span(run: str, play: str, ends: int, number: int) -> int:
    """The dial of a rollout at one weight."""
    return _number(8, "step", run, play, str(ends), str(number))


def task_span(run: str, play: str, host: str, task: str, failures: int) -> int:
    """A task on one host. `failures`: how often it has failed there, and was tried again by a resume."""
    return _number(8, "task", run, play, host, task, str(failures))


def _number(size: int, *parts: str) -> int:
    """Of `size` bytes, never 0, which means none. Parts are kept apart by what no name holds."""
    told = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(told, digest_size=size, person=b"ciflow trace").digest(), "big") or 1
