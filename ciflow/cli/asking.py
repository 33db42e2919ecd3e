"""A module's questions answered on this machine, at once: for commands that only look and must be quick.

What a playbook runs goes through the engine, which records it. Nothing that is asked here changes anything, so there
is nothing to record, and a start of the engine would take longer than the answer.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from ciflow.diagnostics import Refused
from ciflow.model import Exec, Probe, Read, Reply, Step

T = TypeVar("T")


def answered(asking: Generator[Step, Reply, T], meanwhile: Callable[[], None]) -> T:
    """What a generator that only yields probes comes to. `meanwhile` runs beside its first program."""
    reply: Reply | None = None
    while True:
        try:
            step = next(asking) if reply is None else asking.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        reply = _reply(step, meanwhile)
        if isinstance(step, Probe) and isinstance(step.operation, Exec):
            meanwhile = _nothing


def _nothing() -> None:
    """All that can be done ahead has been."""


def _reply(step: Step, meanwhile: Callable[[], None]) -> Reply:
    match step:
        case Probe(operation=Exec() as program):
            return _run(program, meanwhile)
        case Probe(operation=Read() as read):
            return _read(read)
    raise Refused(f"{type(step).__name__} is not asked on this machine without a run")


def _run(program: Exec, meanwhile: Callable[[], None]) -> Reply:
    try:
        process = subprocess.Popen(
            program.argv,
            cwd=program.cwd or None,
            env={**os.environ, **program.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return Reply(ok=False, rc=127, error=str(error))
    with process:
        meanwhile()
        out, err = process.communicate(program.stdin)
    return Reply(ok=process.returncode == 0, rc=process.returncode, stdout=out, stderr=err)


def _read(read: Read) -> Reply:
    try:
        return Reply(stdout=Path(read.path).read_bytes())
    except OSError as error:
        return Reply(ok=False, error=str(error))
