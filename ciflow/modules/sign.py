"""`sign`: vouch for a file with a key, as a Sigstore bundle beside it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps
from ciflow.modules.vouching import ask_program, key_of, subject_of
from ciflow.supply.bundle import signature_name


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """A bundle that is there and holds is kept."""
    subject = yield from subject_of(args, context)
    if isinstance(subject, Outcome):
        return subject
    bundle = posixpath.join(subject.folder, signature_name(subject.name))
    wish = {"path": subject.path, "bundle": bundle, **key_of(args, context), "create_key": args["create_key"]}
    told = yield from ask_program("sign", wish, {"path": subject.path, "bundle": bundle}, would="would sign it")
    if isinstance(told, Outcome):
        return told
    made = ", with a new key" if told["key_created"] else ""
    by = "" if args.get("keyless") is not None else "key "
    return Outcome(changed=told.pop("changed"), msg=f"signed by {by}{told['key_id']}{made}", data=told)
