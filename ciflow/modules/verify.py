"""`verify`: hold a file, its signatures and its attestations against a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps
from ciflow.modules.vouching import ask_program, rooted, subject_of


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """It changes nothing, so that check mode does it as well."""
    subject = yield from subject_of({**args, "dest": args.get("bundles")}, context)
    if isinstance(subject, Outcome):
        return subject
    wish = {
        "path": subject.path,
        "name": subject.name,
        "bundles": subject.folder,
        "policy": rooted(args["policy"], context),
        "now": context.now,
    }
    told = yield from ask_program("verify", wish, {"path": subject.path})
    if isinstance(told, Outcome):
        return told
    said = ", ".join((*told["signers"], *([told["origin"]["builder"]] if told["origin"] else [])))
    return Outcome(msg=f"{len(told['bundles'])} bundles hold: {said}", data=told)
