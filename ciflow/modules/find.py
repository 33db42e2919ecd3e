"""`find`: what lies below some folders, by name, age, size and content."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Reply, Step, Steps, Walk
from ciflow.modules.replies import failure, well
from ciflow.modules.stat import facts

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_MOST = 100_000  # entries that a register is to hold
_NOT_TOLD = ("exists", "readable", "writeable", "executable", "lnk_target", "lnk_source")
_PATHS_THAT_ARE_PASSED_OVER = ("ENOENT", "ENOTDIR", "EACCES", "EPERM")


def run(args: Mapping[str, Any], _context: Context) -> Steps:
    """One Walk for each path; the host chooses, so that only what is found travels."""
    for name, units in (("age", _SECONDS), ("size", _BYTES)):
        if args.get(name) is not None and _amount(args[name], units) is None:
            return Outcome(failed=True, msg=f"failed to process {name}: {args[name]}")
    files: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    examined, limit = 0, args.get("limit") or _MOST
    for path in args["paths"]:
        if len(files) == args.get("limit"):
            break
        reply = yield from _walk(args, str(path), limit - len(files))
        if reply.errno in _PATHS_THAT_ARE_PASSED_OVER:
            skipped[str(path)] = reply.error
            continue
        if not well(reply):
            return failure(reply)
        files += [_told(entry) for entry in reply.data.get("entries", ())]
        skipped |= {one["path"]: one["error"] for one in reply.data.get("unread", ())}
        examined += int(reply.data.get("examined", 0))
        if reply.truncated and not args.get("limit"):
            return Outcome(failed=True, msg=f"more than {_MOST} matches: say more of what to find, or give a limit")
    data = {"files": files, "matched": len(files), "examined": examined, "skipped_paths": skipped}
    return Outcome(msg=_message(len(files) == args.get("limit"), skipped), data=data)


def _message(limited: bool, skipped: Mapping[str, str]) -> str:
    if limited:
        return "Limit of matches reached"
    return "Not all paths examined, check warnings for details" if skipped else "All paths examined"


def _walk(args: Mapping[str, Any], path: str, limit: int) -> Generator[Step, Reply, Reply]:
    return (
        yield Probe(
            Walk(
                path=path,
                depth=int(args.get("depth") or 0) if args["recurse"] else 1,
                hash=args["checksum_algorithm"] if args["get_checksum"] else "",
                limit=limit,
                follow=args["follow"],
                only=_only(args),
            )
        )
    )


def _only(args: Mapping[str, Any]) -> dict[str, Any]:
    """What the task asks for, in the words of Walk. Content is asked of files alone, as Ansible has it."""
    only: dict[str, Any] = {"hidden": args["hidden"], "regex": args["use_regex"]}
    only |= {to: [str(one) for one in args[name]] for name, to in _LISTS.items() if args[name]}
    if args["file_type"] != "any":
        only["kind"] = args["file_type"]
    if args.get("age") is not None:
        only["age"] = [args["age_stamp"], _amount(args["age"], _SECONDS)]
    if args.get("size") is not None:
        only["size"] = _amount(args["size"], _BYTES)
    if args.get("mode"):
        only["mode"] = [args["mode"], args["exact_mode"]]
    if args.get("contains") is not None and args["file_type"] == "file":
        only |= {"contains": args["contains"], "whole": args["read_whole_file"], "encoding": args.get("encoding", "")}
    return only


_LISTS = {"patterns": "names", "excludes": "without"}


def _amount(said: str, units: Mapping[str, int]) -> int | None:
    """Seconds or bytes of `-2d` or `10m`; None where it is neither."""
    found = re.fullmatch(r"(-?\d+)([a-z]?)", said.strip().lower())
    return int(found[1]) * units[found[2]] if found and found[2] in units else None


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Ansible's keys of one entry."""
    told = facts(str(entry["path"]), entry)
    return {name: value for name, value in told.items() if name not in _NOT_TOLD}
