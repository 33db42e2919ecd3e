"""`require:` of a canary: what its artifacts must have before anything is deployed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.template import render
from ciflow.plan.compile import tasks_of
from ciflow.supply import dsse
from ciflow.supply.errors import SupplyError

if TYPE_CHECKING:
    from ciflow.engine.stage import StageRun


def check_required(work: StageRun) -> None:
    """Each artifact that the play puts somewhere was signed by the key: its bundle holds for the very bytes that will
    be deployed, which nobody can change any more in the store. Raises Invalid for the first that was not."""
    canary = work.play.canary
    assert canary is not None
    if not canary.require:
        return
    scope = work.scope_of(work.hosts[0])
    wanted: Mapping[str, Any] = render(dict(canary.require), scope)
    names = [str(render(task.args["name"], scope)) for task in tasks_of(work.play.tasks) if task.module == "artifact"]
    if not names:
        raise _refused(work, "the play puts no `artifact` in its slot, so nothing can be checked")
    if work.run.options.check:
        work.run.wire.warn(f"not checked: whether {', '.join(names)} will be signed as `require` says")
        return
    for fault in _faults(work, wanted, names):
        raise _refused(work, fault)


def _faults(work: StageRun, wanted: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    key = _rooted(work, str(wanted["signed_by"]))
    for name in names:
        path = work.run.artifacts.get(name)
        if path is None:
            yield f"no earlier play left an artifact named `{name}`"
            continue
        folder = _rooted(work, str(wanted["bundles"])) if wanted.get("bundles") else posixpath.dirname(path)
        bundle = posixpath.join(folder, f"{name}.sigstore.json")
        try:
            dsse.verify_blob(Path(path).read_bytes(), Path(bundle).read_bytes(), Path(key).read_bytes())
        except OSError as error:
            yield f"`{name}` can't be checked: {error.filename}: {error.strerror}"
        except SupplyError as error:
            yield f"`{name}` was not signed by {key}: {error} ({bundle})"


def _rooted(work: StageRun, name: str) -> str:
    """Relative names count from the playbook's folder."""
    path = Path(name).expanduser()
    return str(path if path.is_absolute() else Path(work.run.folder) / path)


def _refused(work: StageRun, why: str) -> Invalid:
    canary = work.play.canary
    assert canary is not None
    help = "nothing was deployed; `sign` in a play before it makes the signatures"
    return Invalid([Diagnostic("error", "CF0311", why, canary.span, help=help)])
