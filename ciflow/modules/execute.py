"""Running one program, as `command`, `shell` and `script` share it: guards, prediction, and what `unknown` becomes."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Exec, Outcome, Probe, Read, Reply, Stat, Step, Steps, Walk
from ciflow.modules.replies import failure, process_data, process_message

SPILL_LIMIT = 256 * 1024 * 1024  # bytes of output that a controller may be asked to hold at once


def tool(words: tuple[str, ...], context: Context, stdin: bytes = b"") -> Exec:
    """A tool of the system: found in sbin as well, which the path of a login often lacks, and speaking English."""
    argv = ("/bin/sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; export PATH; exec "$@"', "sh", *words)
    return Exec(argv=argv, stdin=stdin, env={**context.environment, "LC_ALL": "C"}, timeout=context.timeout)


def stdin(args: Mapping[str, Any]) -> bytes:
    """The text for standard input, with the newline that Ansible adds unless told not to."""
    given = args.get("stdin")
    if given is None:
        return b""
    return f"{given}\n".encode("utf-8", "surrogateescape") if args["stdin_add_newline"] else str(given).encode()


def execute(operation: Exec, cmd: str | list[str], context: Context, *, strip: bool = True) -> Steps:
    """One Exec, sent ahead where that is safe. An `unknown` reply fails unless `creates` or `removes` decides."""
    if context.check:
        return (yield from _predict(operation, cmd))
    reply = yield Change(operation, last=True)
    if reply.status == "unknown" and (operation.creates or operation.removes):
        held = yield from held_back(operation)
        if held:
            return Outcome(changed=True, msg=f"Nobody saw it end, but {held}", data={"cmd": cmd, "rc": None})
        reply = yield Change(operation, last=True)
    return process_outcome(reply, cmd, operation, strip=strip)


def process_outcome(reply: Reply, cmd: str | list[str], operation: Exec, *, strip: bool = True) -> Outcome:
    """What a finished, guarded or lost process came to."""
    if reply.status == "skipped":
        return not_run(cmd, "Did", _guard(operation, str(reply.data.get("because", ""))))
    data = process_data(reply, cmd, strip=strip)
    if reply.status != "done":
        return failure(reply, data)
    return Outcome(changed=reply.changed, failed=not reply.ok, msg=process_message(reply), data=data)


def _predict(operation: Exec, cmd: str | list[str]) -> Steps:
    held = yield from held_back(operation)
    if held:
        return not_run(cmd, "Would", held)
    guarded = bool(operation.creates or operation.removes)
    msg = "Command would have run if not in check mode"
    return Outcome(changed=guarded, skipped=not guarded, msg=msg, data=_unrun(cmd))


def not_run(cmd: str | list[str], verb: str, reason: str) -> Outcome:
    """A guard kept it from running (`Did`), or would (`Would`): no failure, no change."""
    said = f"skipped, since {reason.replace(chr(39), '')}"  # Ansible quotes the path in the one and not in the other
    return Outcome(msg=f"{verb} not run command since {reason}", data=_unrun(cmd, said))


def _unrun(cmd: str | list[str], said: str = "") -> dict[str, Any]:
    """What a task registers that ran nothing: conditions on `rc` and `stdout` hold as after one that went well."""
    streams = {"stdout": said, "stdout_lines": [said] if said else [], "stderr": "", "stderr_lines": []}
    return {"cmd": cmd, "rc": 0, **streams, "start": None, "end": None, "delta": None}


def _guard(operation: Exec, name: str) -> str:
    """Which of the two kept it back, in words; the host says so where there are two."""
    if name == "removes" or not operation.creates:
        return f"'{operation.removes}' does not exist"
    return f"'{operation.creates}' exists"


def held_back(operation: Exec) -> Generator[Step, Reply, str]:
    """Which guard keeps the program from running now, in words; empty when none does."""
    if operation.creates and (yield from _present(operation.creates, operation.cwd)):
        return f"'{operation.creates}' exists"
    if operation.removes and not (yield from _present(operation.removes, operation.cwd)):
        return f"'{operation.removes}' does not exist"
    return ""


def _present(pattern: str, cwd: str) -> Generator[Step, Reply, bool]:
    """Whether a path, or anything that matches a pattern in its last part, exists on the host."""
    path = posixpath.join(cwd, pattern) if cwd else pattern
    folder, name = posixpath.split(path)
    if not any(mark in name for mark in "*?["):
        reply = yield Probe(Stat(path=path))
        return bool(reply.data.get("exists"))
    reply = yield Probe(Walk(path=folder or ".", depth=1))
    return any(fnmatch.fnmatchcase(posixpath.basename(e["path"]), name) for e in reply.data.get("entries", ()))


def whole_stdout(reply: Reply) -> Generator[Step, Reply, bytes | Reply]:
    """All that a program wrote: from the host's spill file where the reply holds only its ends; a bad reply else."""
    if not reply.truncated:
        return reply.stdout
    spilled = reply.spilled.get("stdout")
    if spilled is None:
        return reply
    read = yield Probe(Read(path=spilled, limit=SPILL_LIMIT))
    return read.stdout if read.status == "done" and read.ok else read
