"""`mount`: a file system, in /etc/fstab and mounted as it is said there."""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Change, Context, Mkdir, Outcome, Probe, Read, Reply, Stat, Step, Steps, Write
from ciflow.modules import fstab
from ciflow.modules.execute import tool
from ciflow.modules.replies import difference, failure, predicted, text, well
from ciflow.modules.textfile import Rewritten, decoded, encoded, rewrite

_FSTAB = "/etc/fstab"
_NEED_A_SOURCE = ("present", "mounted", "ephemeral")


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """The file is read and rewritten as any shared file is; what is mounted is told by the kernel."""
    line, state = _line(args), args["state"]
    if state in _NEED_A_SOURCE and not (line.src and line.fstype):
        return Outcome(failed=True, msg=f"state is {state} but src or fstype is missing", data=_told(args, line))
    match state:
        case "present" | "absent_from_fstab":
            done = yield from _rewritten(args, context, line)
            return _file_outcome(done, _told(args, line))
        case "absent" | "absent_mount":
            return (yield from _absent(args, context, line))
        case "unmounted":
            return (yield from _unmounted(args, context, line))
        case "mounted":
            return (yield from _mounted(args, context, line))
        case "ephemeral":
            return (yield from _ephemeral(args, context, line))
        case _:
            reply = yield from _remount(args, context, line, opts=args.get("opts", ""))
            return _ended(reply, f"Error remounting {line.path}", _told(args, line), changed=True)


def _line(args: Mapping[str, Any]) -> fstab.Line:
    opts = args.get("opts") or "defaults"
    if not args["boot"] and "noauto" not in opts.split(","):
        opts += ",noauto"
    path = posixpath.normpath(args["path"]) if args["path"].startswith("/") else args["path"]
    return fstab.Line(args.get("src", ""), path, args.get("fstype", ""), opts, args["dump"], args["passno"])


def _told(args: Mapping[str, Any], line: fstab.Line) -> dict[str, Any]:
    told: dict[str, Any] = {"name": args["path"], "src": line.src, "fstype": line.fstype, "opts": line.opts}
    if args["opts_no_log"]:
        del told["opts"]
    return told | {"dump": line.dump, "passno": line.passno, "fstab": _file(args)}


def _file(args: Mapping[str, Any]) -> str:
    return str(args.get("fstab") or _FSTAB)


def _rewritten(args: Mapping[str, Any], context: Context, line: fstab.Line) -> Generator[Step, Reply, Rewritten]:
    """With its line, or without for every state that says absent."""
    change = fstab.without if args["state"].startswith("absent") else fstab.with_line
    show = context.diff and not args["opts_no_log"]
    wish = Write(path=_file(args), backup=args["backup"], diff=show)
    folder = Mkdir(path=posixpath.dirname(_file(args)) or ".")
    return (yield from rewrite(wish, lambda content: change(content, line), folder=folder))


def _file_outcome(done: Rewritten, data: Mapping[str, Any], *, changed: bool = False) -> Outcome:
    if not well(done.reply):
        return failure(done.reply, data)
    kept = {"backup_file": done.reply.data["backup"]} if done.reply.data.get("backup") else {}
    return Outcome(changed=changed or done.reply.changed, data={**data, **kept}, diff=difference(done.reply))


def _absent(args: Mapping[str, Any], context: Context, line: fstab.Line) -> Steps:
    """Only what stood in the file is unmounted. A folder that is not empty then is never taken away."""
    data = _told(args, line)
    done = yield from _rewritten(args, context, line)
    if not well(done.reply) or not done.reply.changed:
        return _file_outcome(done, data)
    if (yield from _seen(line.path)) is not None:
        reply = yield Change(tool(("umount", line.path), context))
        if not well(reply) and not predicted(reply):
            return _ended(reply, f"Error unmounting {line.path}", data)
    there = yield Probe(Stat(path=line.path))
    if args["state"] == "absent" and there.data.get("exists"):
        reply = yield Change(tool(("rmdir", "--", line.path), context))
        if not well(reply) and not predicted(reply):
            return _ended(reply, f"Error rmdir {line.path}", data)
    return _file_outcome(done, data)


def _unmounted(args: Mapping[str, Any], context: Context, line: fstab.Line) -> Steps:
    if (yield from _seen(line.path)) is None:
        return Outcome(data=_told(args, line))
    reply = yield Change(tool(("umount", line.path), context))
    return _ended(reply, f"Error unmounting {line.path}", _told(args, line), changed=True)


def _mounted(args: Mapping[str, Any], context: Context, line: fstab.Line) -> Steps:
    """A line that can't be mounted is taken out again: it could keep the machine from starting."""
    data = _told(args, line)
    made = yield from _place(line.path)
    if not well(made):
        return failure(made, data, f"Error making dir {line.path}")
    done = yield from _rewritten(args, context, line)
    if not well(done.reply):
        return failure(done.reply, data)
    there = (yield from _seen(line.path)) is not None
    if there and not done.reply.changed:
        return Outcome(data=data)
    if there:
        reply = yield from _remount(args, context, line)
    else:
        reply = yield Change(tool(("mount", *_table(args), line.path), context))
    if well(reply) or predicted(reply):
        return _file_outcome(done, data, changed=True)
    undone = yield from _undone(args, done, made, line)
    return _ended(reply, f"Error mounting {line.path}", data, more=undone)


def _place(path: str) -> Generator[Step, Reply, Reply]:
    """The folder to mount on, made where there is nothing; a file may be mounted on as well."""
    seen = yield Probe(Stat(path=path, follow=True))
    if not well(seen) or seen.data.get("exists"):
        return replace(seen, changed=False)
    return (yield Change(Mkdir(path=path)))


def _undone(args: Mapping[str, Any], done: Rewritten, made: Reply, line: fstab.Line) -> Generator[Step, Reply, str]:
    """The file as it was, and the folder gone that was made; what could not be undone, in words."""
    left = []
    if done.reply.changed:
        reply = yield Change(Write(path=_file(args), content=encoded(done.before or "")))
        left += [] if well(reply) else [f"its line is still in {_file(args)}"]
    if made.changed:
        reply = yield Change(tool(("rmdir", "--", line.path), Context()))
        left += [] if well(reply) else [f"{line.path} is still there"]
    return "; ".join(left)


def _ephemeral(args: Mapping[str, Any], context: Context, line: fstab.Line) -> Steps:
    data = _told(args, line)
    made = yield from _place(line.path)
    if not well(made):
        return failure(made, data, f"Error making dir {line.path}")
    there = yield from _seen(line.path)
    if there is not None and not there.is_of(line.src):
        msg = f"{line.path} has {there.src} mounted on it, not {line.src}: unmount it first, or take another path"
        return Outcome(failed=True, msg=msg, data=data)
    opts = ",".join(filter(None, ("remount" if there else "", line.opts if line.opts != "defaults" else "")))
    words = ("mount", "-t", line.fstype, *(("-o", opts) if opts else ()), line.src, line.path)
    reply = yield Change(tool(words, context))
    return _ended(reply, f"Error mounting {line.path}", data, changed=True)


def _remount(
    args: Mapping[str, Any], context: Context, line: fstab.Line, opts: str = ""
) -> Generator[Step, Reply, Reply]:
    """What can't be remounted is unmounted and mounted, unless there are options, which only a remount would obey."""
    words = ("mount", "-o", f"remount,{opts}" if opts else "remount", *_table(args), line.path)
    reply = yield Change(tool(words, context))
    if well(reply) or predicted(reply) or reply.status != "done" or opts:
        return reply
    reply = yield Change(tool(("umount", line.path), context))
    return (yield Change(tool(("mount", *_table(args), line.path), context))) if well(reply) else reply


def _table(args: Mapping[str, Any]) -> tuple[str, ...]:
    return ("-T", _file(args)) if _file(args) != _FSTAB else ()


def _seen(path: str) -> Generator[Step, Reply, fstab.Mounted | None]:
    """What is mounted there, if anything."""
    reply = yield Probe(Read(path="/proc/self/mountinfo"))
    seen = yield Probe(Stat(path=path))
    real = str(seen.data.get("source") or path)
    found = [one for one in fstab.mounted(decoded(reply.stdout)) if one.path == real]
    return found[-1] if found else None


def _ended(reply: Reply, what: str, data: Mapping[str, Any], *, changed: bool = False, more: str = "") -> Outcome:
    if well(reply) or predicted(reply):
        return Outcome(changed=changed, data=data)
    said = "; ".join(filter(None, (text(reply.stderr).strip(), more)))
    if reply.status != "done" or not said:
        return failure(reply, data, what)
    return Outcome(failed=True, msg=f"{what}: {said}", data={**data, "rc": reply.rc})
