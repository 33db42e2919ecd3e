"""The magic variable `git`: branch, sha, tag, dirty, author of the checkout that the playbook lies in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ciflow.engine.context import RunContext
from ciflow.engine.keys import Key
from ciflow.engine.names import asked_by, names_in
from ciflow.model import Exec
from ciflow.plan.compile import tasks_of

_AFFECTED = ("crates", "folder", "base", "inputs", "ignore", "offline")
_ASK = """
cd "$1" && git rev-parse HEAD && git rev-parse --abbrev-ref HEAD && git log -1 --format=%an &&
{ git describe --tags --exact-match 2>/dev/null || echo; } && git status --porcelain | head -c 1
"""


async def read_git(run: RunContext) -> Mapping[str, Any]:
    """Read once for each run, and only when a template asks for it; empty texts where there is no checkout."""
    if not _wanted(run):
        return {}
    folder = str(Path(run.plan.path).parent.absolute())
    key = Key(run.id, "", "", ("git",))
    operation = Exec(argv=("/bin/sh", "-c", _ASK, "sh", folder))
    call = run.wire.call(run.controller, "git", str(key), operation, probe=True)
    reply = await asyncio.shield(call.answer)
    empty = {"sha": "", "branch": "", "author": "", "tag": "", "dirty": False}
    if not reply.ok:
        return empty
    sha, branch, author, tag, dirty = (reply.stdout.decode("utf-8", "replace").split("\n", 4) + [""] * 5)[:5]
    return {"sha": sha, "branch": branch, "author": author, "tag": tag, "dirty": bool(dirty.strip())}


def _wanted(run: RunContext) -> bool:
    playbook = run.plan.playbook
    names = names_in(dict(playbook.vars))
    for play in playbook.plays:
        given = play.canary
        canary = [given.service, given.version, dict(given.router[1]), *given.gates] if given else []
        approval = [play.approval.prompt] if play.approval else []
        names |= names_in([getattr(play.affected, field) for field in _AFFECTED] if play.affected else [])
        names |= names_in([*play.when, dict(play.vars), dict(play.outputs), *canary, *approval])
        names |= names_in([part for one in play.artifacts for part in (one.name, one.path, one.key, one.digest)])
        for task in tasks_of((*play.tasks, *play.handlers)):
            names |= asked_by(task)
    return "git" in names
