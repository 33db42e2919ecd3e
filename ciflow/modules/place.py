"""Bringing one file's content to its place on the host, the way copy and template share it."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

from ciflow.model import Change, Context, Copy, Mkdir, Outcome, Reply, Step, Write
from ciflow.modules.replies import failure, file_data, file_outcome


def write(args: Mapping[str, Any], context: Context, content: bytes = b"", source: str = "") -> Write:
    """A Write with everything that `mode owner group backup validate force follow` say."""
    return Write(
        path=args["dest"],
        content=content,
        source=source,
        mode=args.get("mode", ""),
        owner=args.get("owner", ""),
        group=args.get("group", ""),
        backup=args["backup"],
        validate=tuple(shlex.split(args.get("validate", ""))),
        force=args["force"],
        follow=args["follow"],
        diff=context.diff and not source,
        unsafe=args.get("unsafe_writes", False),
    )


def without_file(args: Mapping[str, Any]) -> str:
    """What is wrong with a `validate` that says nowhere which file to look at; empty where nothing is."""
    given = args.get("validate", "")
    return f"validate must contain %s: {given}" if given and "%s" not in given else ""


def into(operation: Write | Copy, name: str, directory_mode: str = "") -> Generator[Step, Reply, tuple[str, Reply]]:
    """Place a file called `name` at its destination, or inside it where that is a directory; where it came to lie.

    A destination with a slash at its end is a directory, made when missing. One without is tried as a file first:
    that costs a second round trip only where it turns out to be a directory.
    """
    dest = _destination(operation)
    folder = dest.endswith("/")
    path = posixpath.join(dest, name) if folder else dest
    reply = yield Change(_at(operation, path), last=True)
    if reply.errno == "EISDIR" and not folder:
        path = posixpath.join(dest, name)
        reply = yield Change(_at(operation, path), last=True)
    elif reply.errno == "ENOENT" and folder and "/" in dest.rstrip("/"):
        made = yield Change(Mkdir(path=dest, mode=directory_mode))
        if made.status != "done" or not made.ok:
            return path, made
        reply = yield Change(_at(operation, path), last=True)
    return path, reply


def placed(reply: Reply, path: str, more: Mapping[str, Any]) -> Outcome:
    """The outcome for one placed file, with Ansible's keys; `more` is what the module knows beside."""
    if reply.errno == "ENOENT" and reply.status == "done":
        return failure(reply, {"dest": path, **more}, f"Destination directory {posixpath.dirname(path)} does not exist")
    data = file_data(reply, path) | dict(more)
    if reply.data.get("after"):
        data["sha256"] = reply.data["after"]
    return file_outcome(reply, data)


def _destination(operation: Write | Copy) -> str:
    return operation.path if isinstance(operation, Write) else operation.dest


def _at(operation: Write | Copy, path: str) -> Write | Copy:
    return replace(operation, path=path) if isinstance(operation, Write) else replace(operation, dest=path)
