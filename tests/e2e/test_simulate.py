"""`ciflow rollout simulate`, on the playbook that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

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
