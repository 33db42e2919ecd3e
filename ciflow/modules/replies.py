"""From replies to outcomes: the register keys that Ansible documents, made in one place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ciflow.model import Outcome, Reply

# What an operation on a file says of the file it leaves, under Ansible's names.
_FILE_KEYS = ("mode", "owner", "group", "uid", "gid", "size")


def text(data: bytes) -> str:
    """Bytes from a host as text for a register; what is not UTF-8 shows as U+FFFD (the bytes stay in the reply)."""
    return data.decode("utf-8", "replace")


def well(reply: Reply) -> bool:
    """It ran, and the host calls it good."""
    return reply.status == "done" and reply.ok


def predicted(reply: Reply) -> bool:
    """Check mode answered instead of the host."""
    return reply.status == "skipped"


def failure(reply: Reply, data: Mapping[str, Any] | None = None, what: str = "") -> Outcome:
    """The outcome of a reply that is not well; `what` says in plain words what was tried."""
    unknown = reply.status == "unknown"
    reason = reply.error or ("nobody can say whether it ran" if unknown else _complaint(reply))
    return Outcome(failed=True, unknown=unknown, msg=f"{what}: {reason}" if what else reason, data=dict(data or {}))


def _complaint(reply: Reply) -> str:
    """What a process that ended badly said last, and how it ended; for other operations, that they were refused."""
    said = text(reply.stderr).strip().splitlines()[-1:]
    if reply.rc is None:
        return "the host refused it"
    return f"{said[0]} (exit code {reply.rc})" if said else f"exit code {reply.rc}"


def when(seconds: float) -> str:
    """Unix seconds in the form of Ansible's `start` and `end`, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


# What Ansible gives as `rc` where a program never began: the number of what stood in the way.
_NEVER_BEGAN = {"ENOENT": 2, "ENOEXEC": 8, "EACCES": 13}


def process_data(reply: Reply, cmd: str | list[str], *, strip: bool = True) -> dict[str, Any]:
    """`rc stdout stderr stdout_lines stderr_lines cmd start end delta` of a process that ended (or never began)."""
    stdout, stderr = text(reply.stdout), text(reply.stderr)
    if strip:
        stdout, stderr = stdout.rstrip("\r\n"), stderr.rstrip("\r\n")
    data: dict[str, Any] = {
        "cmd": cmd,
        "rc": -reply.signal if reply.signal else _NEVER_BEGAN.get(reply.errno, reply.rc),
        "stdout": stdout,
        "stderr": stderr,
        "stdout_lines": stdout.splitlines(),
        "stderr_lines": stderr.splitlines(),
    }
    if reply.started:
        data |= {"start": when(reply.started), "end": when(reply.started + reply.duration)}
        data["delta"] = str(timedelta(seconds=reply.duration))
    if reply.truncated:
        data |= {"truncated": True, "spilled": dict(reply.spilled)}
    return data


def process_message(reply: Reply) -> str:
    """Why a process failed, in one line; empty when it did not."""
    if reply.error:
        return reply.error
    if reply.signal:
        return f"ended by signal {reply.signal}"
    return "" if reply.ok else "non-zero return code"


def file_data(reply: Reply, dest: str, state: str = "file") -> dict[str, Any]:
    """`dest state mode owner group uid gid size backup_file` as far as the host told."""
    data: dict[str, Any] = {"dest": dest, "state": state}
    data |= {key: reply.data[key] for key in _FILE_KEYS if key in reply.data}
    if reply.data.get("backup"):
        data["backup_file"] = reply.data["backup"]
    return data


def difference(reply: Reply) -> tuple[str, str] | None:
    """Before and after of a text, where the operation was asked for them."""
    pair = reply.data.get("diff")
    return (str(pair[0]), str(pair[1])) if pair else None


def file_outcome(reply: Reply, data: Mapping[str, Any]) -> Outcome:
    """The outcome of one operation on one file."""
    if not well(reply):
        return failure(reply, data)
    return Outcome(changed=reply.changed, data=data, diff=difference(reply))
