"""`fetch`: bring a file of the host to the controller."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from typing import Any

from ciflow.model import At, Change, Context, Mkdir, Outcome, Probe, Read, Steps, Write
from ciflow.modules.replies import difference, failure, well

_LIMIT = 1024 * 1024 * 1024  # bytes; what a controller may be asked to hold at once


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """To DEST/HOST/SRC, as Ansible has it, or to DEST itself when `flat`; never outside of DEST."""
    src = args["src"]
    reply = yield Probe(Read(path=src, limit=_LIMIT))
    if reply.errno == "ENOENT":
        return _missing(src, fail=args["fail_on_missing"])
    if reply.errno == "EISDIR":
        return _directory(src, fail=args["fail_on_missing"])
    if not well(reply):
        return failure(reply, {"file": src})
    dest = destination(args, context)
    checksum = hashlib.sha1(reply.stdout, usedforsecurity=False).hexdigest()
    wish = At("controller", Change(Write(path=dest, content=reply.stdout, diff=context.diff)))
    written = yield wish
    if written.errno == "ENOENT":
        made = yield At("controller", Change(Mkdir(path=posixpath.dirname(dest))))
        written = (yield wish) if well(made) else made
    data = {"file": src, "dest": dest, "checksum": checksum, "remote_checksum": checksum}
    if not well(written):
        return failure(written, data, "on the controller")
    return Outcome(changed=written.changed, data=data, diff=difference(written))


def destination(args: Mapping[str, Any], context: Context) -> str:
    """Where on the controller; a relative `dest` counts from the playbook's folder (the last of the search)."""
    src = posixpath.normpath("/" + args["src"]).lstrip("/")  # no `..` climbs out
    root = posixpath.join(context.search[-1] if context.search else ".", args["dest"])
    if not args["flat"]:
        host = context.host.replace("/", "_")
        return posixpath.join(root, host if host.strip(".") else "_" * len(host), src)
    return posixpath.join(root, posixpath.basename(src)) if root.endswith("/") else root


def _missing(src: str, *, fail: bool) -> Outcome:
    if fail:
        return Outcome(failed=True, msg="the remote file does not exist", data={"file": src})
    return Outcome(msg="the remote file does not exist, not transferring, ignored", data={"file": src})


def _directory(src: str, *, fail: bool) -> Outcome:
    return Outcome(failed=fail, msg="remote file is a directory, fetch cannot work on directories", data={"file": src})
