"""`attest`: say something of an artifact, signed: where it comes from, what is in it, or a document of one's own."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps
from ciflow.modules.vouching import ask_program, key_of, rooted, subject_of
from ciflow.supply.bundle import attestation_name
from ciflow.supply.dsse import PREDICATES, PROVENANCE


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Provenance is what the engine wrote when the artifact was kept; a playbook can ask for it, and not change it."""
    subject = yield from subject_of(args, context)
    if isinstance(subject, Outcome):
        return subject
    data = {"path": subject.path}
    said: dict[str, str] = {}
    for document, short in args["documents"].items():
        kind = PREDICATES.get(str(short), str(short))
        if kind in said:
            return Outcome(failed=True, msg=f"two documents are of the kind {short}: one task for each", data=data)
        said[kind] = rooted(str(document), context)
    if PROVENANCE in said:
        return Outcome(failed=True, msg="provenance is written by ciflow itself: say `provenance: true`", data=data)
    if args["provenance"]:
        proof = context.provenance.get(subject.name) if args.get("artifact") else None
        if proof is None and not context.check:
            msg = f"nobody saw how {subject.name} was built: provenance is of an `artifact` that a play left"
            return Outcome(failed=True, msg=msg, data=data)
        said[PROVENANCE] = proof or ""
    if not said:
        return Outcome(failed=True, msg="nothing to attest: say `documents` or `provenance: true`", data=data)
    places = {kind: posixpath.join(subject.folder, attestation_name(subject.name, kind)) for kind in said}
    wish = {
        "path": subject.path,
        "name": subject.name,
        "statements": [_statement(kind, said[kind], places[kind]) for kind in sorted(said)],
        **key_of(args, context),
    }
    told = yield from ask_program("attest", wish, {**data, "attestations": places}, would="would attest it")
    if isinstance(told, Outcome):
        return told
    by = "" if args.get("keyless") is not None else "key "
    return Outcome(changed=told.pop("changed"), msg=f"attested by {by}{told['key_id']}", data=told)


def _statement(kind: str, document: str, bundle: str) -> dict[str, str]:
    """What the program is told of one. The engine keeps provenance by its digest: nobody changes it on the way."""
    kept = "".join(document.rsplit("/", 2)[-2:]) if kind == PROVENANCE else ""
    return {"kind": kind, "document": document, "bundle": bundle, "sha256": kept}
