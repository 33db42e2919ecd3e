"""Everything that vouches for a release, folded from the events of its run: what `ciflow evidence` packs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Event
from ciflow.supply.bundle import is_of
from ciflow.supply.canonical import to_bytes
from ciflow.supply.errors import SupplyError
from ciflow.supply.keys import PublicKey
from ciflow.supply.trust import Policy, Signer
from ciflow.supply.verify import judge

Blob = Callable[[str], bytes]  # by its digest; raises CiflowError where it is not there, or not whole

WANTED = ("sbom", "scan", "signature", "attestation", "provenance", "tests", "gates", "approvals")
_PRIVATE = frozenset({"op_sent", "op_reply", "rendered", "snapshot"})
_FOLDERS = {"sbom": "sbom", "scan": "scans", "signature": "signatures", "attestation": "signatures"}
_OF_ROLLOUT = ("canary_started", "canary_state", "interval", "gate", "stable", "dial", "rollback")


@dataclass(frozen=True, slots=True)
class Kept:
    """Contents by digest: documents of the journal, and artifacts."""

    document: Blob
    artifact: Blob


@dataclass(frozen=True, slots=True)
class Gathered:
    """`about` is the manifest's part, `files` the rest. `faults` are signatures that do not hold, `missing` kinds of
    evidence that the run has not left."""

    about: Mapping[str, Any]
    files: Mapping[str, bytes]
    faults: tuple[str, ...]
    missing: tuple[str, ...]


def gather(
    release: Mapping[str, Any], events: Sequence[Event], kept: Kept, policy: Policy | None, now: float
) -> Gathered:
    """All evidence of a release, its artifacts' bundles held against `policy`, or against the keys that the run itself
    says it signed with."""
    artifacts = _artifacts(release, events)
    documents = _documents(events, kept.document)
    files = {**documents, **_provenance(artifacts, events, kept.document), **_told(events)}
    files["journal.jsonl"] = b"".join(_line(event) for event in events if event.kind not in _PRIVATE)
    verdicts, faults = _judged(artifacts, documents, kept.artifact, policy or _own(events), now)
    kinds = _kinds(events, files)
    missing = tuple(kind for kind in WANTED if kind not in kinds)
    about = {
        "release": dict(release),
        "artifacts": [dict(one) for one in artifacts],
        "vouched": verdicts,
        "faults": list(faults),
        "held_against": "a policy" if policy else "the keys that the run says it signed with",
        "missing": list(missing),
    }
    return Gathered(about, files, faults, missing)


def _artifacts(release: Mapping[str, Any], events: Iterable[Event]) -> list[Mapping[str, Any]]:
    """What the release's play deployed; all that its run left, where the play names none."""
    left = {str(event.data["name"]): event.data for event in events if event.kind == "artifact"}
    ends = (event for event in events if event.kind == "task_ended" and event.play == release.get("play"))
    taken = {str(end.data["outcome"].get("name")) for end in ends if end.data["module"] == "artifact"}
    return [left[name] for name in sorted(left) if name in taken or not taken & left.keys()]


def _documents(events: Iterable[Event], blob: Blob) -> dict[str, bytes]:
    """Documents by their place in the archive; what was written to one path twice is what it was at last."""
    last = {(event.data["path"], event.host): event.data for event in events if event.kind == "evidence"}
    found: dict[str, bytes] = {}
    for data in last.values():
        name = f"{_FOLDERS[data['kind']]}/{_plain(str(data['name']))}"
        content = blob(str(data["sha256"]))
        if found.get(name, content) != content:
            name = f"{name}-{data['sha256'][:8]}"
        found[name] = content
    return found


def _provenance(artifacts: Iterable[Mapping[str, Any]], events: Iterable[Event], blob: Blob) -> dict[str, bytes]:
    digests = {one["sha256"] for one in artifacts}
    told = [event.data for event in events if event.kind == "provenance" and event.data["sha256"] in digests]
    return {f"provenance/{_plain(str(data['name']))}.json": blob(str(data["predicate"])) for data in told}


def _told(events: Sequence[Event]) -> dict[str, bytes]:
    """What the journal itself tells, by subject."""
    subjects = {
        "tests": ("tests",),
        "gates": _OF_ROLLOUT,
        "approvals": ("approval_wanted", "approval_given"),
    }
    files = {}
    for name, kinds in subjects.items():
        rows = [{"kind": e.kind, "at": e.at, "play": e.play, **e.data} for e in events if e.kind in kinds]
        if rows:
            files[f"{name}.json"] = to_bytes({name: rows})
    scans = [event.data["outcome"] for event in events if event.kind == "task_ended" and event.data["module"] == "scan"]
    return files | ({"scans.json": to_bytes({"scans": scans})} if scans else {})


def _kinds(events: Iterable[Event], files: Mapping[str, bytes]) -> set[str]:
    found = {str(event.data["kind"]) for event in events if event.kind == "evidence"}
    found |= {name.partition(".")[0] for name in files if "/" not in name} | {name.partition("/")[0] for name in files}
    return found | ({"scan"} if "scans" in found else set())


def _judged(
    artifacts: Iterable[Mapping[str, Any]], documents: Mapping[str, bytes], blob: Blob, policy: Policy, now: float
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """(who vouches for which artifact, what does not hold)."""
    verdicts, faults = [], []
    for one in artifacts:
        name = str(one["name"])
        bundles = {path: content for path, content in documents.items() if is_of(name, path.rpartition("/")[2])}
        if not bundles:
            continue
        try:
            verdict = judge(blob(str(one["sha256"])), bundles, policy, now)
        except SupplyError as error:
            faults.append(f"{name}: {error}")
        else:
            verdicts.append({"name": name, "signers": verdict.signers, "attestations": verdict.kinds})
    return verdicts, tuple(faults)


def _own(events: Iterable[Event]) -> Policy:
    """The keys that the run says it signed with: what holds for them is whole, whoever they belong to."""
    ends = (event.data["outcome"] for event in events if event.kind == "task_ended")
    pems = {str(outcome["public_key"]) for outcome in ends if outcome.get("public_key")}
    signers = tuple(Signer(key.id, key) for key in (PublicKey(pem.encode()) for pem in sorted(pems)))
    return Policy(signers, signature=False)


def _line(event: Event) -> bytes:
    row = {"seq": event.seq, "at": event.at, "kind": event.kind, "play": event.play, "host": event.host,
           "task": event.task, "data": dict(event.data)}  # fmt: skip
    return (json.dumps(row, sort_keys=True) + "\n").encode()


def _plain(name: str) -> str:
    """A name that every file system takes, and that leads nowhere else."""
    return re.sub(r"[^A-Za-z0-9._@+-]", "_", name).lstrip(".-@+") or "unnamed"
