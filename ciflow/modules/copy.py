"""`copy`: put content, a file or a tree on the host."""

from __future__ import annotations

import json
import posixpath
import shlex
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import (
    At,
    Attrs,
    Change,
    Context,
    Copy,
    Link,
    Mkdir,
    Outcome,
    Probe,
    Reply,
    Stat,
    Step,
    Steps,
    Walk,
    Write,
)
from ciflow.modules.place import into, placed, without_file, write
from ciflow.modules.replies import failure, well
from ciflow.modules.sources import INLINE_LIMIT, Missing, Source, begins_vaulted, find, opened, read, sha1


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """`content` is one Write; `src` is found on the controller first; `remote_src` copies on the host itself."""
    if wrong := without_file(args):
        return Outcome(failed=True, msg=wrong, data={"dest": args["dest"]})
    if args.get("content") is not None:
        return (yield from _content(args, context))
    if args["remote_src"]:
        return (yield from _on_the_host(args, context))
    found = yield from find(args["src"], context, checksum=True)
    if isinstance(found, Missing):
        return Outcome(failed=True, msg=str(found), data={"src": args["src"], "dest": args["dest"]})
    return (yield from _tree(found.path, args, context) if found.directory else _file(found, args, context))


def _content(args: Mapping[str, Any], context: Context) -> Steps:
    given = args["content"]
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    content = text.encode("utf-8", "surrogateescape")
    if args["dest"].endswith("/"):
        return Outcome(failed=True, msg="can not use content with a dir as dest", data={"dest": args["dest"]})
    reply = yield Change(write(args, context, content), last=True)
    return placed(reply, args["dest"], {"checksum": sha1(content)})


def _file(found: Source, args: Mapping[str, Any], context: Context) -> Steps:
    expected = args.get("checksum")
    wish, checksum = yield from _carried(found, args, context)
    more = {"src": found.path, "checksum": checksum}
    if isinstance(wish, Reply):
        return failure(wish, more)
    if expected and expected != checksum:
        msg = f"Copied file does not match the expected checksum. Transfer failed: {checksum} is not {expected}"
        return Outcome(failed=True, msg=msg, data={**more, "expected_checksum": expected})
    path, reply = yield from into(wish, posixpath.basename(found.path), args.get("directory_mode", ""))
    return placed(reply, path, more)


def _carried(
    found: Source, args: Mapping[str, Any], context: Context
) -> Generator[Step, Reply, tuple[Write | Reply, str]]:
    """The Write of one file and its SHA-1: with its content where that is small, streamed from the controller
    otherwise. A file of ansible-vault is opened, and its content never shown as a difference."""
    mode = found.mode if args.get("mode") == "preserve" else args.get("mode", "")
    large = found.size > INLINE_LIMIT
    vaulted = large and args["decrypt"] and (yield from begins_vaulted(found.path))
    if large and not vaulted:
        return replace(write(args, context, source=found.path), mode=mode), found.sha1
    reply = (yield from opened(found.path)) if vaulted else (yield from read(found.path, decrypt=args["decrypt"]))
    if not well(reply):
        return reply, found.sha1
    if not reply.data.get("vaulted"):
        return replace(write(args, context, reply.stdout), mode=mode), found.sha1
    return replace(write(args, context, reply.stdout), mode=mode, diff=False), sha1(reply.stdout)


def _tree(src: str, args: Mapping[str, Any], context: Context, mode: str = "") -> Steps:
    """A directory with all below it. `src` with a slash at its end means its content only, as in rsync.

    On the host itself all that is new has the mode of what it is copied from, as in Ansible: `mode` is the directory's.
    """
    root = src.rstrip("/")
    top = args["dest"] if src.endswith("/") else posixpath.join(args["dest"], posixpath.basename(root))
    listed = yield _there(Walk(path=root, follow=args["local_follow"]), args)
    if not well(listed):
        return failure(listed, {"src": src})
    changed = False
    above = {"path": root, "kind": "directory", "mode": mode}
    entries: list[Mapping[str, Any]] = [above, *listed.data.get("entries", ())]
    for entry in entries:
        dest = posixpath.normpath(posixpath.join(top, posixpath.relpath(entry["path"], root)))
        reply = yield from _entry(entry, {**args, "dest": dest}, context)
        if not well(reply):
            return failure(reply, {"src": entry["path"], "dest": dest})
        changed = changed or reply.changed
    return Outcome(changed=changed, data={"src": src, "dest": args["dest"], "state": "directory"})


def _there(operation: Walk | Stat, args: Mapping[str, Any]) -> Step:
    """Where the source lies: on the host with `remote_src`, else on the controller."""
    return Probe(operation) if args["remote_src"] else At("controller", Probe(operation))


def _entry(entry: Mapping[str, Any], args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Reply]:
    """One entry of a tree in its place. A link becomes what it leads to, or, with `local_follow: false`, a link."""
    if entry["kind"] == "link" and not args["local_follow"]:
        return (yield Change(Link(path=args["dest"], target=entry["target"], force=True)))
    if entry["kind"] == "link":
        seen = yield _there(Stat(path=entry["path"], follow=True), args)
        if not well(seen):
            return seen
        if not seen.data.get("exists"):
            leads = f"{entry['path']} leads to {entry['target']}, where nothing is"
            return Reply(ok=False, error=f"{leads}; local_follow: false keeps it as a link")
        entry = {**seen.data, "path": entry["path"]}
    if entry["kind"] == "directory":
        told = args["remote_src"] and not context.check  # what is not made has no mode to be changed
        return (yield from _folder(args, str(entry.get("mode", "")) if told else ""))
    if entry["kind"] != "file":
        return Reply(ok=False, error=f"{entry['path']} is a {entry['kind']}, which can't be copied")
    if args["remote_src"]:
        return (yield Change(_copied(entry["path"], args["dest"], {"mode": "preserve", **args})))
    file = Source(entry["path"], size=int(entry.get("size", 0)), mode=str(entry.get("mode", "")))
    wish, _ = yield from _carried(file, args, context)
    return wish if isinstance(wish, Reply) else (yield Change(wish))


def _folder(args: Mapping[str, Any], mode: str) -> Generator[Step, Reply, Reply]:
    """A directory of a tree; one that is made has this `mode`, unless `directory_mode` says another."""
    wanted, owner, group = args.get("directory_mode", ""), args.get("owner", ""), args.get("group", "")
    made = yield Change(Mkdir(path=args["dest"], mode=wanted, owner=owner, group=group))
    if not mode or wanted or not made.changed or not well(made):
        return made
    given = yield Change(Attrs(path=args["dest"], mode=mode))
    return made if well(given) else given


def _on_the_host(args: Mapping[str, Any], context: Context) -> Steps:
    src = args["src"]
    seen = yield Probe(Stat(path=src, hash="sha1", follow=True))
    if not seen.data.get("exists"):
        reason = f"Source {src} not found" if well(seen) else seen.error
        return Outcome(failed=True, msg=reason, unknown=seen.status == "unknown", data={"src": src})
    if seen.data.get("kind") == "directory":
        return (yield from _tree(src, args, context, str(seen.data.get("mode", ""))))
    path, reply = yield from into(_copied(src, args["dest"], args), posixpath.basename(src))
    return placed(reply, path, {"src": src, "checksum": seen.data.get("hash", "")})


def _copied(src: str, dest: str, args: Mapping[str, Any]) -> Copy:
    return Copy(
        path=src,
        dest=dest,
        mode=args.get("mode", ""),
        owner=args.get("owner", ""),
        group=args.get("group", ""),
        backup=args["backup"],
        validate=tuple(shlex.split(args.get("validate", ""))),
        force=args["force"],
        unsafe=args.get("unsafe_writes", False),
    )
