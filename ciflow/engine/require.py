"""`require:` of a canary: what its artifacts must have before anything is deployed."""

from __future__ import annotations

import hashlib
import posixpath
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.template import evaluate, render
from ciflow.plan.compile import tasks_of
from ciflow.supply.errors import SupplyError
from ciflow.supply.trust import Origin, Policy

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun


async def check_required(work: StageRun) -> None:
    """Each artifact that the play puts somewhere is vouched for as the policy says: its bundles hold for the very bytes
    that will be deployed, which nobody can change any more in the store. Raises Invalid for the first that is not.

    From then on the play's tasks see no other artifact: not all names are known before its slot is.
    """
    canary = work.play.canary
    assert canary is not None
    if not canary.require:
        return
    require = dict(canary.require)
    wanted: Mapping[str, Any] = await work.settle("require", lambda: render(require, work.scope_of(work.hosts[0])))
    names = await work.settle("require", partial(_names, work))
    if not any(task.module == "artifact" for task in tasks_of(work.play.tasks)):
        raise _refused(work, "the play puts no `artifact` in its slot, so nothing can be checked")
    if work.run.options.check:
        work.run.wire.warn(f"not checked: whether {', '.join(names) or 'it'} will be signed as `require` says")
        return
    policy = _policy(work, wanted)
    work.vouched = {}
    for name in dict.fromkeys((*names, *work.run.artifacts)):
        fault = next(_faults(work, wanted, policy, name), "")
        if not fault:
            work.vouched[name] = work.run.artifacts[name]
        elif name in names:
            raise _refused(work, fault)


def _names(work: StageRun) -> list[str]:
    """What its tasks are known to deploy: of a name or condition that asks for the slot, only the slot knows."""
    lane = work.own_lane(work.hosts[0])
    found = []
    for task in tasks_of(work.play.tasks):
        if task.module != "artifact":
            continue
        try:
            scope = lane.scope(task)
            if all(evaluate((condition,), scope) for condition in task.when):
                found.append(str(render(task.args["name"], scope)))
        except Invalid:
            continue
    return found


def _policy(work: StageRun, wanted: Mapping[str, Any]) -> Policy:
    from ciflow.modules.files.verify import policy_at

    key = _rooted(work, str(wanted["signed_by"]))
    try:
        return _asked(policy_at(key), wanted)
    except OSError as error:
        raise _refused(work, f"`signed_by` can't be read: {error.filename}: {error.strerror}") from error
    except SupplyError as error:
        raise _refused(work, f"`signed_by`: {key}: {error}") from error


def _faults(work: StageRun, wanted: Mapping[str, Any], policy: Policy, name: str) -> Iterator[str]:
    from ciflow.modules.files.verify import judged

    path = work.run.artifacts.get(name)
    if path is None:
        yield f"no earlier play left an artifact named `{name}`"
        return
    now = work.run.recorder.rendered(f"{work.id}|verified", time.time)
    folder = _rooted(work, str(wanted["bundles"])) if wanted.get("bundles") else posixpath.dirname(path)
    try:
        data = Path(path).read_bytes()
        judged(data, name, Path(folder), policy, now)
        yield from _holes(work, name, hashlib.sha256(data).hexdigest(), wanted.get("no_vulnerabilities"))
    except OSError as error:
        yield f"`{name}` can't be checked: {error.filename}: {error.strerror}"
    except SupplyError as error:
        yield f"`{name}` is not vouched for as `require` asks: {error} ({folder})"


def _holes(work: StageRun, name: str, sha256: str, level: str | None) -> Iterator[str]:
    """What the newest scan of this very artifact in this run found, from a severity on."""
    if level is None:
        return
    from ciflow.supply.scan import refusals

    report = work.run.scans.get(sha256)
    if report is None:
        yield f"nobody has scanned `{name}` in this run: `scan` with `artifact: {name}` does"
        return
    for hole in refusals(report, level):
        yield f"`{name}` has a known vulnerability: {hole}"


def _asked(policy: Policy, wanted: Mapping[str, Any]) -> Policy:
    """The policy, and what stands beside it: any provenance (`true`), or one by a builder (a pattern)."""
    asked = wanted.get("provenance")
    if not asked:
        return policy
    origin = policy.provenance or Origin()
    return replace(policy, provenance=origin if asked is True else replace(origin, builder=(str(asked),)))


def _rooted(work: StageRun, name: str) -> str:
    """Relative names count from the playbook's folder."""
    path = Path(name).expanduser()
    return str(path if path.is_absolute() else Path(work.run.folder) / path)


def _refused(work: StageRun, why: str) -> Invalid:
    canary = work.play.canary
    assert canary is not None
    help = "nothing was deployed; `sign` and `attest` in a play before it vouch for what they are given"
    return Invalid([Diagnostic("error", "CF0311", why, canary.span, help=help)])
