"""`ciflow rollout simulate`, on the playbook that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ASKING = """\
- name: Roll out
  hosts: localhost
  matrix: {service: "{{ services | default(['shop', 'cart']) }}"}
  canary:
    service: "{{ matrix.service }}"
    version: "1.4.0"
    router: {envoy: {port: 8080}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [5%, 50%]
    gates:
      - errors
      - query: {prometheus: {url: "http://localhost:9090", query: up}, max: 5}
      - slo: {objective: 95%, bad: {command: {argv: [bad]}}, total: {command: {argv: [total]}}}
"""
RELEASE = "playbooks/release.yml"


def simulated(*words: str) -> tuple[int, str]:
    argv = [sys.executable, "-m", "ciflow", "rollout", "simulate", *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_greater_fault_is_found_sooner_and_hurts_fewer_users() -> None:
    code, said = simulated(RELEASE, "--rate", "1500", "--errors", "1%", "--runs", "20", "--faults", "3,10", "--json")
    assert code == 0, said
    good, three, ten = (json.loads(line) for line in said.splitlines())
    assert (good["odds_ratio"], good["rolled_back"], good["promoted"]) == (1.0, 0.0, 1.0)
    assert three["rolled_back"] == ten["rolled_back"] == 1.0
    assert ten["detect_median"] < three["detect_median"] and ten["hurt_mean"] < three["hurt_mean"]


def test_the_same_seed_gives_the_same_answer() -> None:
    words = (RELEASE, "--rate", "300", "--runs", "5", "--faults", "5", "--json")
    first: Any = simulated(*words, "--seed", "7")
    assert first == simulated(*words, "--seed", "7") and first[0] == 0


def test_what_it_can_not_take_is_said() -> None:
    for words, part in (
        ((RELEASE, "--rate", "10", "--errors", "many"), "not a share"),
        ((RELEASE, "--rate", "10", "--faults", "0.5"), "above 1"),
        ((RELEASE,), "--rate"),
        (("nowhere.yml", "--rate", "10"), "nowhere.yml"),
    ):
        code, said = simulated(*words)
        assert code == 3 and part in said, said


def test_gates_that_ask_a_provider_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """A query's answers can't be assumed, and it is left out; an objective is judged by the errors that are assumed.
    In a release of two services each has half of the chance for a false alarm."""
    (tmp_path / "release.yml").write_text(ASKING)
    path = str(tmp_path / "release.yml")
    words = ("--rate", "500", "--errors", "1%", "--runs", "5", "--faults", "20")
    code, said = simulated(path, *words)
    assert code == 0 and said.count("without `query`") == 2 and "turned back 100%" in said, said
    code, alone = simulated(path, *words, "-e", '{"services": ["shop"]}', "--json")
    both = [json.loads(line) for line in simulated(path, *words, "--json")[1].splitlines()]
    found = json.loads(alone.splitlines()[1])["detect_median"]
    assert code == 0 and found <= both[1]["detect_median"] == both[3]["detect_median"]
