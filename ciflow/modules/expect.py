"""`expect`: run a program that asks questions, and answer them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ciflow.model import Change, Context, Exec, Outcome, Steps
from ciflow.modules.execute import execute, held_back, not_run
from ciflow.modules.replies import failure, process_data, well
from ciflow.modules.sources import read

SCRIPT = str(Path(__file__).parent / "files" / "expect.py")
_PYTHON = 'exec "$(command -v python3 || command -v /usr/libexec/platform-python || echo python)" -c "$1"'


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """A small program gives it a terminal and answers. It gets the answers by its standard input: they are often
    passwords, and arguments are seen by everybody."""
    cmd = args["command"]
    try:
        words = shlex.split(cmd)
    except ValueError as error:
        return Outcome(failed=True, msg=f"command: {error}", data={"cmd": cmd, "rc": None})
    if not words:
        return Outcome(failed=True, msg="no command given", data={"rc": 256})
    guard = Exec(cwd=args.get("chdir", ""), creates=args.get("creates", ""), removes=args.get("removes", ""))
    if context.check:
        return (yield from execute(guard, cmd, context))
    held = yield from held_back(guard)
    if held:
        return not_run(cmd, "Did", held)
    script = yield from read(SCRIPT)
    if not well(script):
        return failure(script)
    wish = {"argv": words, "responses": _responses(args), "timeout": _limit(args["timeout"]), "echo": args["echo"]}
    operation = Exec(
        argv=("/bin/sh", "-c", _PYTHON, "sh", script.stdout.decode()),
        stdin=json.dumps(wish).encode(),
        cwd=guard.cwd,
        env=context.environment,
        timeout=context.timeout,
    )
    reply = yield Change(operation, last=True)
    try:
        told = json.loads(reply.stdout) if well(reply) else None
    except ValueError:
        told = None
    if told is None:
        return failure(reply, {"cmd": cmd, "rc": reply.rc}, "the command could not be given a terminal")
    output = told["output"].encode("utf-8", "surrogateescape")
    data = process_data(replace(reply, stdout=output, rc=told["rc"]), cmd)
    problem = told["problem"] or ("" if told["rc"] == 0 else "non-zero return code")
    return Outcome(changed=True, failed=bool(problem), msg=problem, data=data)


def _responses(args: Mapping[str, Any]) -> list[list[Any]]:
    """Each question with its answer, or its answers in turn."""
    answers = args["responses"].items()
    return [[str(ask), [str(one) for one in say] if isinstance(say, list) else str(say)] for ask, say in answers]


def _limit(said: Any) -> float | None:
    return None if said in (None, "", "None", "null") else float(said)
