"""What a rollback came to, in words and as data: the same for who types it, watches a rollout, or has the page."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from ciflow.engine.rollback import Done
from ciflow.report.humane import duration, share
from ciflow.rollout.rollback import HELD, RolledBack
from ciflow.rollout.routers import Slot


def data_of(done: Done) -> dict[str, Any]:
    """As `ciflow rollback --json` prints it."""
    return {"run": done.run, "took": done.took, **asdict(done.result)}


def lines_of(service: str, done: Done, *, rehearse: bool) -> list[str]:
    """What was done, or not, for people."""
    result, decision = done.result, done.result.decision
    if decision.kind == "nothing":
        return [f"{service}: nothing to do; {decision.why}", *filter(None, [decision.then])]
    if decision.kind in HELD:
        return [f"{service}: {decision.why}; nothing was turned", decision.then]
    if decision.kind == "fence":
        return [f"{service}: {decision.why}", *(_rehearsed(result) if rehearse else _stopped(done))]
    source = f"{decision.source.version} ({decision.source.name}, {share(decision.share)})"
    lines = [f"{service} {source} -> {decision.target.version} ({_standing(decision.target)})"]
    if rehearse:
        return [*lines, *_rehearsed(result)]
    verified = {True: "verified by its own counters", False: "its counters still show the other slot", None: ""}
    for host in result.done:
        lines.append(f"  {host:<14} traffic on {decision.target.name}   {verified[result.verified]}".rstrip())
    for host, left in result.failed:
        lines.append(f"  {host:<14} not turned: {left}")
    return [*lines, *_ended("Rolled back", done)]


def _stopped(done: Done) -> list[str]:
    """A rollout that has no traffic: its routers take no turn of it any more."""
    lines = [f"  {host:<14} takes no turn of it any more" for host in done.result.done]
    lines += [f"  {host:<14} not reached: {left}" for host, left in done.result.failed]
    return [*lines, *_ended("Stopped the rollout", done)]


def _ended(what: str, done: Done) -> list[str]:
    failed = done.result.failed
    if failed:
        what += f" on {len(done.result.done)} of {len(done.result.done) + len(failed)} routers"
    lines = [f"{what} in {duration(done.took)}.{_recorded(done)}"]
    if failed:
        left = ", ".join(host for host, _ in failed)
        finish = "The same command turns it as soon as it answers; on that host itself it needs no network"
        lines.append(f"Left: {left}. {finish}.")
    return lines


def _rehearsed(result: RolledBack) -> list[str]:
    """Whether a rollback would work now, and if not, on which routers and why."""
    lines = [f"  {host:<14} would not be turned: {why}" for host, why in result.failed]
    where = result.decision.target
    lines += [f"  {host:<14} slot {where.name} does not answer at {where.authority}" for host in result.silent]
    well = "every router answers"
    if result.decision.kind == "fence":
        well += ", and the rollout would be stopped"
    else:
        well += ", and so does the version to go back to"
    return [*lines, f"Rehearsed: {'it would not work everywhere' if lines else well}; nothing was turned."]


def _standing(slot: Slot) -> str:
    now = time.time()
    warm = f", warm for {duration(slot.warm_until - now)} more" if slot.warm_until > now else ""
    return f"{slot.name}{warm}{', observed good' if slot.observed_good else ''}"


def _recorded(done: Done) -> str:
    return f" Recorded as {done.run}: `ciflow logs {done.run}`" if done.run else " Not recorded."
