"""`slurp`: the content of a host's file, in base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Read, Steps
from ciflow.modules.replies import failure, well


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """One Read."""
    src = args["src"]
    reply = yield Probe(Read(path=src), last=True)
    if reply.errno == "ENOENT":
        return Outcome(failed=True, msg=f"File not found: {src}")
    if reply.errno == "EISDIR":
        return Outcome(failed=True, msg=f"Source is a directory and must be a file: {src}")
    if reply.errno == "ENOTDIR":
        return Outcome(failed=True, msg=f"Unable to slurp file: {reply.error}")
    if reply.errno in ("EACCES", "EPERM"):
        return Outcome(failed=True, msg=f"File is not readable: {src}")
    if not well(reply):
        return failure(reply)
    content = base64.b64encode(reply.stdout).decode("ascii")
    return Outcome(data={"content": content, "encoding": "base64", "source": src})
