"""`shell`: run text in the host's shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Exec, Steps
from ciflow.modules.execute import execute, stdin


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """`cmd` goes whole to /bin/sh, or to `executable`."""
    operation = Exec(
        shell=args["cmd"],
        executable=args.get("executable", ""),
        stdin=stdin(args),
        cwd=args.get("chdir", ""),
        env=context.environment,
        timeout=context.timeout,
        creates=args.get("creates", ""),
        removes=args.get("removes", ""),
    )
    return (yield from execute(operation, args["cmd"], context))
