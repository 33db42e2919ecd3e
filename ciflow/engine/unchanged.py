"""`affected` of a play: whether anything that it is made from has changed since it passed, or on this branch at all.

What a play is made from are its crates (`ciflow/modules/inputs.py`), the files its `inputs` name, the sources of the
playbook, and what was asked for on the command line. A play that passed records digests of these with its end, unless
they changed while it ran; one that finds such an end is not run again, and what that left is there as if it had.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ciflow import __version__
from ciflow.dataclass import dataclass
from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.engine.context import RunContext
from ciflow.engine.keys import Key
from ciflow.engine.leave import leave_again
from ciflow.lang.files import Files
from ciflow.lang.scope import MISSING, Scope
from ciflow.lang.template import keyword
from ciflow.lang.used_files import used_paths
from ciflow.model import Affected, Host, Outcome, Probe, Reply, Step
from ciflow.modules.checkout import Ask
from ciflow.modules.inputs import Known, known
from ciflow.plan import Stage

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unchanged:
    """`result` is what becomes of the play: run, cached or skipped, for this `reason`. `inputs` are digests of what it
    is made from, any of them; `whole` changes with anything at all."""

    run: RunContext
    stage: Stage
    wanted: Affected
    sources: frozenset[str]
    result: str
    reason: str = ""
    whole: str = ""
    inputs: tuple[str, ...] = ()
    plan: str = ""

    @property
    def runs(self) -> bool:
        return self.result == "run"

    async def passed(self, left: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the end of the play records, now that it went well; nothing where that would not hold."""
        if self.run.options.check or not self.whole:
            return {}
        again = await _known(self.run, self.stage, self.wanted, "after")
        why = again.msg if isinstance(again, Outcome) else self._why_not(again, left)
        if why or isinstance(again, Outcome):
            self.run.wire.warn(f"{self.stage.play.name}: it will not be skipped next time: {why}")
            return {}
        return {"inputs": [_joined(self.plan, one) for one in again.fingerprints], "left": left}

    def _why_not(self, again: Known, left: Mapping[str, Any]) -> str:
        if again.whole != self.whole:
            return "its inputs changed while it ran"
        if not again.fingerprints:
            return again.why
        if more := sorted(set(self.run.files.snapshot()) - self.sources):
            return f"sources were read that are known only when it runs ({more[0]})"
        text = json.dumps(left["outputs"], default=str)
        if json.loads(text) != left["outputs"] or self.run.mask.text(text) != text:
            return "its outputs hold a secret, or what no journal can"
        return ""


async def judged(work: StageRun, scope: Callable[[], Scope]) -> Unchanged:
    """What becomes of a play that says `affected`. Recorded, so that a run that is resumed goes the same way."""
    run, stage = work.run, work.stage
    assert stage.play.affected is not None
    affected = stage.play.affected
    wanted = await work.settle("affected", lambda: _rendered(affected, scope()))
    if wanted.crates is False:  # of a template
        return Unchanged(run, stage, wanted, frozenset(), "run")
    used = await asyncio.to_thread(_used, run)
    sources = frozenset({*run.files.snapshot(), *used})
    key = f"{stage.id}|affected"
    found = run.recorder.known(key)
    if found is MISSING:
        now = await _known(run, stage, wanted, "before")
        if isinstance(now, Outcome):
            raise Invalid([Diagnostic("error", "CF0313", f"`affected`: {now.msg}", stage.play.span)])
        plan = _plan(run, stage, work.hosts, used)
        found = run.recorder.rendered(key, lambda: _verdict(run, stage, now, plan, sources))
    told = Unchanged(run, stage, wanted, sources, **{**found["verdict"], "inputs": tuple(found["verdict"]["inputs"])})
    if told.result == "cached" and not await leave_again(work, found["left"]):
        return replace(told, result="run", reason="")
    return told


def _verdict(run: RunContext, stage: Stage, now: Known, plan: str, sources: Iterable[str]) -> dict[str, Any]:
    verdict = {"result": "run", "reason": "", "whole": now.whole, "inputs": list(now.fingerprints), "plan": plan}
    if now.why:
        run.wire.warn(f"{stage.play.name}: nobody can say whether it was given the same before: {now.why}")
    if run.options.no_skip:
        return {"verdict": verdict, "left": {}}
    before = run.passed(stage.id, [_joined(plan, one) for one in now.fingerprints])
    if before:
        reason = f"passed with the same inputs in {before['run']}"
        return {"verdict": {**verdict, "result": "cached", "reason": reason}, "left": before["left"]}
    own = {os.path.realpath(path) for path in sources}
    if now.affected or own & set(now.changed):
        return {"verdict": verdict, "left": {}}
    reason = f"nothing that it is made from has changed since {now.base}"
    return {"verdict": {**verdict, "result": "skipped", "reason": reason}, "left": {}}


# --- what a play is made from --------------------------------------------------------------------------------


async def _known(run: RunContext, stage: Stage, wanted: Affected, when: str) -> Known | Outcome:
    """Asked on this machine, beside the playbook; an outcome where there is no such workspace or crate."""
    folder = str(Path(run.folder, str(wanted.folder)))
    ask = Ask(folder, str(wanted.base), _texts(wanted.ignore), bool(wanted.offline), {"CARGO_TERM_COLOR": "never"})
    steps = known(ask, _texts(wanted.crates), _texts(wanted.inputs))
    return await _answered(run, steps, Key(run.id, stage.id, "", ("affected", when)))


async def _answered(run: RunContext, steps: Generator[Step, Reply, T], key: Key) -> T:
    """Steps that only read, on the controller."""
    reply: Reply | None = None
    number = 0
    while True:
        try:
            step = steps.send(reply)  # type: ignore[arg-type]
        except StopIteration as stop:
            result: T = stop.value
            return result
        assert isinstance(step, Probe)
        call = run.wire.call(run.controller, str(key), str(key.below(number)), step.operation, probe=True)
        reply = await asyncio.shield(call.answer)
        number += 1


def _rendered(affected: Affected, scope: Scope) -> Affected:
    names = ("crates", "folder", "base", "inputs", "ignore", "offline")
    return Affected(**{name: keyword(getattr(affected, name), scope) for name in names})


def _texts(value: Any) -> tuple[str, ...]:
    """A list or one; a template may also give true, which chooses nothing in particular."""
    listed = value if isinstance(value, list | tuple) else [value] if value and value is not True else []
    return tuple(str(one) for one in listed)


def _used(run: RunContext) -> dict[str, str]:
    """Files that the playbook reads or sends only when it runs, by digest."""
    files = Files.live(run.files.vault)
    return {path: _digest([Path(path).read_bytes()]) for path in used_paths(run.plan.playbook, run.roles, files)}


def _plan(run: RunContext, stage: Stage, hosts: tuple[Host, ...], used: Mapping[str, str]) -> str:
    """A digest of what was asked for: sources, hosts, choices, variables. A secret among these is no part of it."""
    chosen = run.plan.selection
    sources = {os.path.relpath(path, run.folder): _digest([data]) for path, data in run.files.snapshot().items()}
    asked = {
        "ciflow": __version__,
        "play": stage.id,
        "cell": dict(stage.cell),
        "hosts": sorted(host.name for host in hosts),
        "selection": [sorted(chosen.tags), sorted(chosen.skip_tags), chosen.start_at],
        "sources": {**sources, **{os.path.relpath(path, run.folder): digest for path, digest in used.items()}},
        "extra": dict(run.extra),
        "vars": {name: repr(value) for name, value in stage.play.vars.items()},
    }
    return _digest([run.mask.text(json.dumps(asked, sort_keys=True, default=str)).encode()])


def _joined(plan: str, fingerprint: str) -> str:
    return _digest([plan.encode(), fingerprint.encode()])


def _digest(parts: Iterable[bytes]) -> str:
    made = blake2b(digest_size=20)
    for part in parts:
        made.update(part)
    return made.hexdigest()
