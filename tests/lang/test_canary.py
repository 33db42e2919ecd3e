"""`canary:` to the model, and its faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.diagnostics import Invalid
from ciflow.lang.files import Files
from ciflow.lang.playbook import load_playbook
from ciflow.model import CanaryStep, Template

GOOD = """\
- hosts: web
  canary:
    service: shield
    version: "{{ version }}"
    router: {haproxy: {socket: /run/haproxy/admin.sock, backend: shield}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [1%, 0.05%, {weight: 25%, hold: 30s, min_requests: 2000}]
    hold: 2m
    gates:
      - errors: {tolerate: 1.25}
      - latency: {slower_than: [50ms, 250ms]}
      - slo: 99.9%
    deadline: 1h
    on_inconclusive: rollback
  tasks: [{debug: {msg: "{{ slot.port }}"}}]
  verify: [{ping: }]
"""


def faults(text: str, folder: Path) -> list[str]:
    (folder / "p.yml").write_text(text)
    with pytest.raises(Invalid) as raised:
        load_playbook(str(folder / "p.yml"), Files.live())
    return [d.message for d in raised.value.diagnostics]


def test_a_canary_is_read_in_seconds_and_hundredths_of_a_percent(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(GOOD.replace("1%, 0.05%", "0.05%, 1%"))
    canary = load_playbook(str(tmp_path / "p.yml"), Files.live()).plays[0].canary
    assert canary is not None
    assert canary.steps == (CanaryStep(5, 120.0), CanaryStep(100, 120.0), CanaryStep(2500, 30.0, 2000))
    assert canary.router == ("haproxy", {"socket": "/run/haproxy/admin.sock", "backend": "shield"})
    assert canary.gates == ({"errors": {"tolerate": 1.25}}, {"latency": {"slower_than": [0.05, 0.25]}},
                            {"slo": {"objective": "99.9%"}})  # fmt: skip
    assert (canary.deadline, canary.on_inconclusive, canary.dead_man, canary.bake) == (3600.0, "rollback", 60.0, 600.0)
    assert isinstance(canary.version, Template)
    assert len(canary.verify) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("haproxy:", "haprxy:", "unknown router `haprxy`"),
        ("steps: [1%, 0.05%,", "steps: [5%, 1%,", "steps must rise"),
        ("steps: [1%, 0.05%,", "steps: [101%,", '"101%" is more than 100 %'),
        ("b: {port", "c: {port", "slot `b` is missing"),
        ("errors:", "erors:", "unknown gate `erors`"),
        ("tolerate", "tolerant", "unknown keyword `tolerant` in the gate `errors`"),
        ("50ms", "soon", '`slower_than`: "soon" is not a duration; write `500ms`, `30s`, `2m`, `8h`'),
        ("50ms", "50", "`slower_than: 50` has no unit"),
        ("[50ms, 250ms]", "'0.25'", "`slower_than: 0.25` has no unit"),
        ("steps: [1%, 0.05%,", "steps: [0.05, 1%,", "`step: 0.05` has no sign"),
        ("weight: 25%", "weight: 0.25", "`weight: 0.25` has no sign"),
        ("tolerate: 1.25", "floor: 0.5", "`floor: 0.5` has no sign"),
        ("99.9%", "99.9", "`slo: 99.9` has no sign"),
        ("99.9%", "{objective: 0.999}", "`objective: 0.999` has no sign"),
        ("rollback", "explode", "`on_inconclusive` can't be `explode`; it is one of pause, rollback, promote"),
        ("    service: shield\n", "", "a canary needs `service`"),
        ("tolerate: 1.25", "tolerate: 0.5", "`tolerate` is an odds ratio of at least 1"),
        ("errors: {tolerate: 1.25}", "query: {prometheus: {url: u, query: q}}", "a `query` without a limit takes"),
        ("  canary:\n", "  artifacts: [{name: x, key: k}, {name: x, key: l}]\n  canary:\n", "two artifacts"),
        ("  canary:\n", "  retry: {attempts: 2}\n  canary:\n", "`canary` and `retry` exclude each other"),
    ],
)
def test_a_fault_in_a_canary_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = GOOD.replace("1%, 0.05%", "0.05%, 1%") if "steps" not in old else GOOD
    assert any(one.startswith(message) for one in faults(text.replace(old, new), tmp_path))


def test_verify_needs_a_canary(tmp_path: Path) -> None:
    assert faults("- {hosts: x, verify: [{ping: }]}\n", tmp_path) == [
        "`verify` stands beside `canary`, which this play has not"
    ]
