"""What a release leaves so that its version can be deployed again: the events of the plays before, under a new run.

Its key is kept as long as a rollback may go back to it, for what the run sealed has to be read then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ciflow.diagnostics import StoreError
from ciflow.engine.record import EACH_TIME
from ciflow.model import Event
from ciflow.plan import Plan
from ciflow.plan.compile import cells_of
from ciflow.store.folds import Release
from ciflow.store.seal import Seal

_SEALED = {"op_reply": "reply", "rendered": "args"}


def taken_over(
    past: Sequence[Event], plan: Plan, release: Release, old: Seal, new: Seal, run: str
) -> tuple[Event, ...]:
    """The events of the plays that the rollout needed, as the new run's own. StoreError when one did not end well."""
    rollout = {cell.id for cell in cells_of(plan, plan.stage(release.play))}
    needed = {stage.id for stage in plan.stages} - rollout
    ended = {e.play for e in past if e.kind == "play_ended" and e.data["result"] in ("ok", "skipped", "cached")}
    if missing := needed - ended:
        raise StoreError(f"{release.run} has no good end of {', '.join(sorted(missing))}", help="release it again")
    return tuple(_copies(past, needed, release.run, old, new, run))


def _copies(past: Sequence[Event], needed: set[str], before: str, old: Seal, new: Seal, run: str) -> Iterator[Event]:
    for event in past:
        where = event.play or _play_of(event.key, before)
        if where in needed and event.kind not in EACH_TIME and event.kind != "op_sent":
            key = f"{run}|{event.key.removeprefix(f'{before}|')}" if event.key.startswith(f"{before}|") else event.key
            yield replace(event, run=run, key=key, data=_resealed(event, key, old, new))


def _play_of(key: str, run: str) -> str:
    """Keys of operations begin with their run and play, others with the play."""
    return key.removeprefix(f"{run}|").split("|", 1)[0]


def _resealed(event: Event, key: str, old: Seal, new: Seal) -> Mapping[str, Any]:
    name = _SEALED.get(event.kind, "")
    value = event.data.get(name)
    if not isinstance(value, dict) or value.keys() != {"sealed"}:
        return event.data
    return {**event.data, name: {"sealed": new.seal(old.open(value["sealed"], event.key), key)}}
