"""`getent`: what the host's name service knows, as facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules.program import tool
from ciflow.modules.replies import failure, text

_COLONS = ("passwd", "shadow", "group", "gshadow")
_NOT_FOUND = 2
# Exit codes of getent(1).
_WHY = {
    1: "Missing arguments, or database unknown.",
    _NOT_FOUND: "One or more supplied key could not be found in the database.",
    3: "Enumeration not supported on this database.",
}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One call; each line is an entry, its first field the key."""
    database, key = args["database"], args.get("key")
    argv = ["getent", database, *([key] if key is not None else [])]
    argv += ["-s", args["service"]] if args.get("service") else []
    reply = yield Probe(tool(argv, context), last=True)
    if reply.status != "done" or reply.rc not in (0, *_WHY):
        return failure(reply, what="can't ask the name service")
    if reply.rc == _NOT_FOUND and key is not None and not args["fail_key"]:
        return _facts(database, {key: None}, _WHY[_NOT_FOUND])
    if reply.rc:
        return Outcome(failed=True, msg=_WHY[reply.rc])
    split = args.get("split") or (":" if database in _COLONS else None)
    return _facts(database, _entries(text(reply.stdout), split))


def _entries(said: str, split: str | None) -> dict[str, Any]:
    """Key to the other fields; to a list of such where a key has several entries, as Ansible has it."""
    rows: dict[str, list[list[str]]] = {}
    for line in said.splitlines():
        first, *rest = line.split(split) or [""]
        rows.setdefault(first, []).append(rest)
    return {key: found[0] if len(found) == 1 else found for key, found in rows.items()}


def _facts(database: str, entries: Mapping[str, Any], msg: str = "") -> Outcome:
    facts = {f"getent_{database}": dict(entries)}
    return Outcome(msg=msg, facts=facts, data={"ansible_facts": facts})
