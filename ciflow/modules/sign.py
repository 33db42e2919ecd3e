"""`sign`: vouch for a file with an ECDSA P-256 key, as a Sigstore bundle beside it."""

from __future__ import annotations

import json
import posixpath
import sys
from collections.abc import Mapping
from typing import Any

from ciflow.model import At, Change, Context, Exec, Outcome, Steps
from ciflow.modules.replies import failure, predicted, text, well
from ciflow.modules.sources import Missing, find


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """One program on the controller does it all: a key never enters an operation, a reply or the journal.

    It is a program, too, because a signature is made with fresh randomness: as an operation its result is
    recorded, so that a resumed run keeps the signature that was given out.
    """
    path = args.get("path") or context.artifacts.get(args.get("artifact", ""))
    if path is None:
        known = ", ".join(sorted(context.artifacts)) or "none"
        return Outcome(failed=True, msg=f"no artifact named '{args.get('artifact')}' (there are: {known})")
    if args.get("path"):
        found = yield from find(args["path"], context)
        if isinstance(found, Missing):
            return Outcome(failed=True, msg=str(found))
        path = found.path
    wish = _wish(args, context, path)
    operation = Exec(argv=(sys.executable, "-m", "ciflow.modules.files.sign"), stdin=json.dumps(wish).encode())
    reply = yield At("controller", Change(operation, last=True))
    if predicted(reply):
        return Outcome(changed=True, msg="would sign it", data={"path": path, "bundle": wish["bundle"]})
    if not well(reply):
        said = text(reply.stderr).strip().splitlines()
        return failure(reply, {"path": path}) if not said else Outcome(failed=True, msg=said[-1], data={"path": path})
    told = json.loads(reply.stdout)
    made = ", with a new key" if told["key_created"] else ""
    return Outcome(changed=told.pop("changed"), msg=f"signed by key {told['key_id']}{made}", data=told)


def _wish(args: Mapping[str, Any], context: Context, path: str) -> dict[str, Any]:
    """What the program is told, on its standard input. Relative names count from the playbook's folder."""
    root = context.search[-1] if context.search else "."

    def rooted(name: str) -> str:
        return posixpath.join(root, name) if name and not name.startswith("~") else name

    named = args.get("artifact") or posixpath.basename(path)
    folder = rooted(args["dest"]) if args.get("dest") else posixpath.dirname(path)
    return {
        "path": path,
        "name": named,
        "bundle": posixpath.join(folder, f"{named}.sigstore.json"),
        "key": rooted(args["key"]),
        "passphrase": args.get("passphrase", ""),
        "passphrase_file": rooted(args.get("passphrase_file", "")),
        "create_key": args["create_key"],
        "statements": {rooted(str(name)): kind for name, kind in args["attest"].items()},
    }
