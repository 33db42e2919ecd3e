"""What the evidence of a release is made of, folded from events alone."""

from __future__ import annotations

import json
from typing import Any

from ciflow.model import Event
from ciflow.report.evidence import Kept, gather

RELEASE = {"service": "shield", "version": "1.4", "run": "R-1", "play": "roll-out"}


def event(kind: str, /, play: str = "", **data: Any) -> Event:
    return Event(kind=kind, run="R-1", at=1.0, play=play, data=data)


def nothing(digest: str) -> bytes:
    raise AssertionError(digest)


def told(*events: Event) -> tuple[dict[str, bytes], tuple[str, ...]]:
    found = gather(RELEASE, events, Kept(nothing, nothing), None, 2.0)
    return dict(found.files), found.missing


def test_tests_gates_and_approvals_are_told_as_they_were() -> None:
    files, missing = told(
        event("tests", play="test", commit="c", results={"a": ["P", 0.1]}),
        event("approval_wanted", play="roll-out", prompt="ship it?", until=0),
        event("approval_given", play="roll-out", by="ann", yes=True, reason=""),
        event("gate", play="roll-out", name="errors", verdict="good", evidence=9.0, threshold=4.6),
        event("dial", play="roll-out", weight=10000, token=3),
    )
    assert json.loads(files["approvals.json"])["approvals"][1]["by"] == "ann"
    assert json.loads(files["tests.json"])["tests"][0]["results"] == {"a": ["P", 0.1]}
    assert [one["kind"] for one in json.loads(files["gates.json"])["gates"]] == ["gate", "dial"]
    assert missing == ("sbom", "scan", "signature", "attestation", "provenance")


def test_a_scan_that_wrote_no_file_is_evidence_as_the_journal_has_it() -> None:
    outcome = {"findings": [], "artifact": "server", "artifact_sha256": "ab"}
    files, missing = told(event("task_ended", play="scan", module="scan", status="ok", outcome=outcome))
    assert json.loads(files["scans.json"])["scans"] == [outcome] and "scan" not in missing


def test_what_is_the_engines_own_stays_out_of_the_journal_that_is_given_away() -> None:
    files, _ = told(event("op_reply", reply={}), event("rendered", args={}), event("warning", message="x"))
    assert [json.loads(line)["kind"] for line in files["journal.jsonl"].splitlines()] == ["warning"]
