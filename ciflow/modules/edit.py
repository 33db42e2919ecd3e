"""One Edit, as `lineinfile`, `blockinfile` and `replace` share it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Edit, Outcome, Steps
from ciflow.modules.place import without_file
from ciflow.modules.replies import difference, failure, well


def edit(kind: str, spec: Mapping[str, Any], args: Mapping[str, Any], context: Context) -> Steps:
    """Read, change and write on the host in one operation; its words (`line added`) become the message."""
    path = args["path"]
    if wrong := without_file(args):
        return Outcome(failed=True, msg=wrong, data={"path": path})
    operation = Edit(
        path=path,
        kind=kind,
        spec=spec,
        create=args.get("create", False),
        mode=args.get("mode", ""),
        owner=args.get("owner", ""),
        group=args.get("group", ""),
        backup=args["backup"],
        validate=tuple(shlex.split(args.get("validate", ""))),
        diff=context.diff,
        unsafe=args.get("unsafe_writes", False),
    )
    reply = yield Change(operation, last=True)
    if reply.errno == "ENOENT" and reply.status == "done":
        # Ansible's rc 257 is what its error handler gives for a file that is not there.
        return Outcome(failed=True, msg=f"Destination {path} does not exist !", data={"path": path, "rc": 257})
    if reply.errno == "EISDIR":
        return Outcome(failed=True, msg=f"Path {path} is a directory !", data={"path": path, "rc": 256})
    if not well(reply):
        return failure(reply, {"path": path}, f"Unable to process {kind}" if reply.errno == "EINVAL" else "")
    kept = reply.data.get("backup", "")
    told = {"backup": kept} if kind == "line" else {"backup_file": kept} if kept else {}  # as Ansible's three call it
    data = {"path": path, **told}
    data |= {"found": reply.data["found"]} if "found" in reply.data else {}
    return Outcome(changed=reply.changed, msg=str(reply.data.get("msg", "")), data=data, diff=difference(reply))


def given(args: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of that module's own that the task has set."""
    return {name: args[name] for name in names if args.get(name) is not None}
