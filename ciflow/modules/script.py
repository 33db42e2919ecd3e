"""`script`: run a program that lies on the controller."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Exec, Mkdir, Outcome, Remove, Steps, Write
from ciflow.modules.execute import held_back, not_run, process_outcome
from ciflow.modules.replies import failure, predicted, well
from ciflow.modules.sources import Missing, Source, find, read


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The file goes to a temporary place on the host (0700), runs there, and is taken away again."""
    try:
        name, *words = shlex.split(args["cmd"])
    except ValueError as error:
        return Outcome(failed=True, msg=f"cmd: {error}", data={"cmd": args["cmd"], "rc": None})
    found = yield from find(name, context)
    if isinstance(found, Missing):
        return Outcome(failed=True, msg=str(found))
    guard = Exec(creates=args.get("creates", ""), removes=args.get("removes", ""), cwd=args.get("chdir", ""))
    held = yield from held_back(guard)
    if held:
        return not_run(args["cmd"], "Would" if context.check else "Did", held)
    if context.check:
        guarded = bool(guard.creates or guard.removes)  # without one nothing is known of what it would change
        msg = "Script would have run if not in check mode" if guarded else "Check mode is not supported for this task."
        return Outcome(changed=guarded, skipped=not guarded, msg=msg, data={"cmd": args["cmd"]})
    return (yield from _brought(found, words, args, context))


def _brought(found: Source, words: list[str], args: Mapping[str, Any], context: Context) -> Steps:
    content = yield from read(found.path)
    if not well(content):
        return failure(content)
    place = yield Change(
        Mkdir(path="", temporary="file", prefix="ciflow-", suffix=f"-{posixpath.basename(found.path)}")
    )
    if not well(place):
        return failure(place)
    path = str(place.data["path"])
    written = yield Change(Write(path=path, content=content.stdout, mode="0700"))
    if not well(written):
        return failure(written)
    operation = Exec(
        argv=(*shlex.split(args.get("executable", "")), path, *words),
        cwd=args.get("chdir", ""),
        env=context.environment,
        timeout=context.timeout,
    )
    reply = yield Change(operation)
    outcome = process_outcome(reply, args["cmd"], operation, strip=False)  # as in Ansible, unlike `command`
    removed = yield Change(Remove(path=path), last=True)
    if well(removed) or predicted(removed) or outcome.failed:
        return outcome
    return failure(removed, outcome.data, f"the script ran, but {path} could not be taken away")
