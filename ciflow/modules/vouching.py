"""What `sign`, `attest` and `verify` share: the file they are about, and one program beside it that does it all.

Keys never enter an operation's reply or the journal. A signature is made with fresh randomness, and a program's result
is recorded: a resumed run keeps the signature that was given out.
"""

from __future__ import annotations

import json
import posixpath
import sys
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import At, Change, Context, Exec, Outcome, Probe, Reply, Step
from ciflow.modules.replies import failure, predicted, text, well
from ciflow.modules.sources import Missing, find


@dataclass(frozen=True, slots=True)
class Subject:
    """The file, what it is called, and the folder that what is said of it lies in."""

    path: str
    name: str
    folder: str


def subject_of(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Subject | Outcome]:
    """`artifact`, or the file at `path`; bundles lie in `dest`, or beside it."""
    path = args.get("path") or context.artifacts.get(args.get("artifact", ""))
    if path is None:
        known = ", ".join(sorted(context.artifacts)) or "none"
        return Outcome(failed=True, msg=f"no artifact named '{args.get('artifact')}' (there are: {known})")
    if args.get("path"):
        found = yield from find(args["path"], context)
        if isinstance(found, Missing):
            return Outcome(failed=True, msg=str(found))
        path = found.path
    name = args.get("artifact") or posixpath.basename(path)
    folder = rooted(args["dest"], context) if args.get("dest") else posixpath.dirname(path)
    return Subject(path, name, folder)


def rooted(name: str, context: Context) -> str:
    """Relative names count from the playbook's folder."""
    root = context.search[-1] if context.search else "."
    return posixpath.join(root, name) if name and not name.startswith("~") else name


def key_of(args: Mapping[str, Any], context: Context) -> dict[str, str]:
    """Which key signs, or who certifies one for the moment, as the programs take it."""
    if args.get("keyless") is not None:
        said = args["keyless"]
        token = rooted(said.get("token_file", ""), context)
        return {"fulcio": said.get("fulcio", ""), "rekor": said.get("rekor", ""), "token_file": token}
    return {
        "key": rooted(args["key"], context),
        "passphrase": args.get("passphrase", ""),
        "passphrase_file": rooted(args.get("passphrase_file", ""), context),
    }


def ask_program(
    name: str, wish: Mapping[str, Any], data: Mapping[str, Any], *, would: str = ""
) -> Generator[Step, Reply, dict[str, Any] | Outcome]:
    """What `ciflow.modules.files.NAME` tells, or the outcome that ends the task. `would` says in check mode what it
    would do; without it, it only reads, and is asked in check mode, too."""
    operation = Exec(argv=(sys.executable, "-m", f"ciflow.modules.files.{name}"), stdin=json.dumps(wish).encode())
    step = Change(operation, last=True) if would else Probe(operation, last=True)
    reply = yield At("controller", step)
    if predicted(reply):
        return Outcome(changed=True, msg=would, data=data)
    if not well(reply):
        said = text(reply.stderr).strip()
        return failure(reply, data) if not said else Outcome(failed=True, msg=said, data=data)
    told: dict[str, Any] = json.loads(reply.stdout)
    return told
