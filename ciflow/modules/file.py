"""`file`: what lies at a path: a file, a directory, a link, or nothing, and its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import (
    Attrs,
    Change,
    Context,
    Link,
    Mkdir,
    Operation,
    Outcome,
    Probe,
    Remove,
    Reply,
    Stat,
    Steps,
    Write,
)
from ciflow.modules.replies import failure, file_data, well


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Without `state`, what is there keeps its kind and gets its attributes (`recurse` alone means a directory)."""
    path, state = args["path"], args.get("state") or ("directory" if args["recurse"] else "file")
    if state in ("link", "hard") and not args.get("src"):
        return (yield from _existing_link(args)) if state == "link" else _lacks_source(state)
    if state == "touch":
        return (yield from _touch(args, context))
    if state in ("link", "hard"):
        return _pointing((yield from _link(args, state, context)), args["src"])
    reply = yield Change(_operation(args, state), last=True)
    if reply.errno == "ENOENT" and state == "file":
        return Outcome(failed=True, msg=f"file ({path}) is absent, cannot continue", data=_named(path, "absent"))
    return _outcome(reply, path, _kind(reply, args, state), False)


def _link(args: Mapping[str, Any], state: str, context: Context) -> Steps:
    """A link has its owner set in a second operation; one that was only predicted has none."""
    path, owned = args["path"], bool(args.get("owner") or args.get("group"))
    link = Link(path=path, target=args["src"], hard=state == "hard", force=args["force"])
    reply = yield Change(link, last=not owned)
    if not (well(reply) and owned) or (context.check and reply.changed):
        return _outcome(reply, path, state, False)
    return _outcome((yield Change(_attributes(args, follow=False), last=True)), path, state, reply.changed)


def _pointing(outcome: Outcome, src: str) -> Outcome:
    """What came of a link, with what it leads to."""
    return replace(outcome, data={**outcome.data, "src": src})


def _operation(args: Mapping[str, Any], state: str) -> Operation:
    path = args["path"]
    match state:
        case "absent":
            return Remove(path=path)
        case "directory":
            mode, owner, group = (args.get(key, "") for key in ("mode", "owner", "group"))
            return Mkdir(path=path, mode=mode, owner=owner, group=group, recurse=args["recurse"])
        case _:
            return _attributes(args, follow=args["follow"])


def _attributes(args: Mapping[str, Any], *, follow: bool, touch: bool = False) -> Attrs:
    default = "now" if touch else ""
    mtime, atime = (_time(args.get(name, default)) for name in ("modification_time", "access_time"))
    return Attrs(
        path=args["path"],
        mode=args.get("mode", ""),
        owner=args.get("owner", ""),
        group=args.get("group", ""),
        mtime=mtime,
        atime=atime,
        mtime_form=args["modification_time_format"] if mtime not in ("", "now") else "",
        atime_form=args["access_time_format"] if atime not in ("", "now") else "",
        follow=follow,
    )


def _time(said: str) -> str:
    return "" if said == "preserve" else said


def _touch(args: Mapping[str, Any], context: Context) -> Steps:
    """An empty file where there is none, then its times: `now`, unless told to preserve them."""
    path = args["path"]
    made = yield Change(Write(path=path, force=False, follow=args["follow"]))
    if not well(made) and made.errno != "EISDIR":
        return failure(made, _named(path, "absent"))
    if context.check and made.changed:
        return _outcome(made, path, "file", False)
    reply = yield Change(_attributes(args, follow=args["follow"], touch=True), last=True)
    return _outcome(reply, path, "file", made.changed)


def _existing_link(args: Mapping[str, Any]) -> Steps:
    """`state: link` without `src` keeps a link that is there, and only sets attributes."""
    seen = yield Probe(Stat(path=args["path"]))
    if seen.data.get("kind") != "link":
        return _lacks_source("link")
    reply = yield Change(_attributes(args, follow=False), last=True)
    return _pointing(_outcome(reply, args["path"], "link", False), str(seen.data.get("target", "")))


def _lacks_source(state: str) -> Outcome:
    return Outcome(failed=True, msg=f"src is required for creating a {'sym' if state == 'link' else 'hard'}link")


def _kind(reply: Reply, args: Mapping[str, Any], state: str) -> str:
    """The state to report: `file` stands for whatever was found, unless the task asked for it by name."""
    return state if args.get("state") else str(reply.data.get("kind", state))


def _named(path: str, state: str) -> dict[str, Any]:
    return {"path": path, "state": state}


def _outcome(reply: Reply, path: str, state: str, before: bool) -> Outcome:
    if not well(reply):
        return failure(reply, _named(path, state))
    data = file_data(reply, path, state) | _named(path, state)
    return Outcome(changed=reply.changed or before, data=data)
