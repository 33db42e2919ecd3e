"""`ciflow logs` has a line for each event: what it says beside its kind, its play and its host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Event
from ciflow.report.said import INNER, said_of

EVENTS = Path(__file__).parents[2] / "docs" / "events.md"
SAID: Mapping[str, tuple[dict[str, Any], str]] = {
    "run_started": ({"playbook": "release.yml", "who": "ann", "reason": "hotfix"}, "release.yml by ann: hotfix"),
    "run_ended": ({"exit": 4, "result": "task_failed"}, "exit 4: task_failed"),
    "play_started": ({"name": "Test", "hosts": 2}, "Test: 2 hosts"),
    "play_ended": ({"name": "Test", "result": "ok"}, "Test"),
    "batch_started": ({"number": 2, "of": 3, "hosts": ["web3", "web4"]}, "batch 2 of 3: web3, web4"),
    "task_started": ({"name": "Lint"}, "Lint"),
    "task_ended": ({"name": "Lint", "status": "failed", "msg": "exit code 1"}, "Lint: failed exit code 1"),
    "retry": ({"attempt": 1, "of": 4, "why": "`until` does not hold yet"}, "try 1 of 4: `until` does not hold yet"),
    "handler_notified": ({"handler": "Restart"}, "Restart"),
    "approval_wanted": ({"prompt": "Ship it?"}, "Ship it?"),
    "approval_given": ({"by": "ann", "yes": True, "reason": "looks good"}, "approved by ann: looks good"),
    "artifact": (
        {"name": "server", "path": "/x/server", "sha256": "ab" * 32},
        "server at /x/server  sha256:abababababab",
    ),
    "artifact_removed": ({"name": "server", "sha256": "ab" * 32, "size": 10}, "server  sha256:abababababab"),
    "usage": (
        {"cpu": 2.0, "peak_kb": 1_000_000, "commands": 3, "measured": 3, "sent": 1000, "received": 500},
        "2 s of cpu, at most 1.0 GB, 1.5 kB moved",
    ),
    "sbom": ({"name": "cdx", "path": "cdx.json", "sha256": "cd" * 32}, "cdx at cdx.json  sha256:cdcdcdcdcdcd"),
    "provenance": ({"name": "server", "sha256": "ab" * 32}, "server  sha256:abababababab"),
    "evidence": ({"name": "cdx", "path": "cdx.json", "sha256": "cd" * 32}, "cdx at cdx.json  sha256:cdcdcdcdcdcd"),
    "signature": ({"name": "server", "path": "server.sig", "by": "release-key"}, "server.sig by release-key"),
    "attestation": ({"path": "server.jsonl", "by": "release-key"}, "server.jsonl by release-key"),
    "tests": (
        {"results": {"a": ["P", 0.1], "b": ["FP", 0.2], "c": ["FF", 0.3], "d": ["T", 9]}},
        "2 passed, 1 flaky, 2 failed",
    ),
    "cache": ({"backend": "local", "hits": 90, "misses": 4}, "local: 90 hits, 4 misses"),
    "stats": ({"data": {"built": 3, "shipped": 2}}, "built, shipped"),
    "canary_started": ({"service": "shop", "version": "1.4", "slot": "b"}, "shop 1.4 into slot b, beside nothing"),
    "canary_state": ({"state": "rolling_back", "weight": 500, "reason": "errors"}, "rolling back at 5 %: errors"),
    "dial_wanted": ({"slot": "b", "weight": 500, "reason": "the first step"}, "slot b is to have 5 %: the first step"),
    "dial": ({"slot": "b", "weight": 500, "reason": "the first step"}, "slot b has 5 %: the first step"),
    "interval": ({"candidate": {"bad": 1, "requests": 2000}}, "candidate 1 bad of 2,000"),
    "gate": ({"name": "errors", "verdict": "good", "sentence": "as few as stable"}, "errors good: as few as stable"),
    "stable": ({"sentence": "stable fails as well"}, "stable fails as well"),
    "users": (
        {"served": 9000, "failed": 3, "met_fault": 2},
        "9,000 requests served, 3 failed, 2 of them on the new version",
    ),
    "retire": ({"service": "shop", "slot": "a", "after": 3600}, "shop: slot a after 1h 00m"),
    "rollback": (
        {"service": "shop", "from": "1.4", "to": "1.3", "who": "ann", "left": ["web2"]},
        "shop 1.4 -> 1.3, but not on web2, by ann",
    ),
    "found": ({"service": "shop", "version": "1.3", "slot": "a"}, "shop 1.3 in slot a had all traffic"),
    "command": ({"verb": "pause", "by": "ann"}, "pause by ann"),
    "notified": (
        {"to": "slack", "where": "hooks.example.com", "on": "rolled_back", "sent": True, "answer": "200 OK"},
        "slack hooks.example.com told of rolled back: 200 OK",
    ),
    "annotation": ({"by": "ann", "reason": "a bad disk"}, "by ann: a bad disk"),
    "warning": ({"message": "the host's clock is 3 s late"}, "the host's clock is 3 s late"),
    "error": ({"message": "the disk is full"}, "the disk is full"),
}
WITHOUT_WORDS = frozenset(
    {"output", "diff", "routers", "run_resumed", "shard_started"}
)  # shown otherwise, or nothing more


@pytest.mark.parametrize("kind", SAID)
def test_a_line_of_the_logs_says_what_happened(kind: str) -> None:
    data, line = SAID[kind]
    assert said_of(Event(kind=kind, run="R-1", at=0.0, data=data)) == line


def test_each_kind_of_event_that_is_documented_says_something_in_the_logs() -> None:
    recorded = EVENTS.read_text().partition("in no journal")[0]
    documented = set(re.findall(r"^\| `(\w+)` \|", recorded, re.MULTILINE))
    assert documented - INNER - WITHOUT_WORDS == SAID.keys()
