"""`raw`: run text in the host's shell with nothing added: no environment, no guard, output as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Exec, Outcome, Steps
from ciflow.modules.replies import failure, process_message, text


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Ansible's `raw` bypasses its module system; here it is the plainest Exec, and returns as few keys."""
    operation = Exec(shell=args["cmd"], executable=args.get("executable", ""), timeout=context.timeout)
    reply = yield Change(operation, last=True)
    if reply.status == "skipped":
        return Outcome(skipped=True, msg="raw does not run in check mode")
    stdout, stderr = text(reply.stdout), text(reply.stderr)
    data = {
        "rc": -reply.signal if reply.signal else reply.rc,
        "stdout": stdout,
        "stdout_lines": stdout.splitlines(),
        "stderr": stderr,
        "stderr_lines": stderr.splitlines(),
    }
    if reply.status != "done":
        return failure(reply, data)
    return Outcome(changed=reply.changed, failed=not reply.ok, msg=process_message(reply), data=data)
