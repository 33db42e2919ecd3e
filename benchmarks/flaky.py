"""Flaky tests of a real workspace, of known rates: how soon they are found, and the red runs that this spares.

usage: python -m benchmarks.flaky [--commits N] [--seed S]

Every commit is tested by `ciflow test` with nextest, and where that is red once more, as people do. What a test does is
drawn from the seed, the number of the run and that of its attempt, so that all is the same again with the same seed:

    steady       40 that never fail by themselves
    1, 5, 30 %   two each, that fail so often in any attempt
    order        one that fails when it begins before another has ended, which it does in every third run
    broken       one that a commit breaks, and the third after it mends
    outages      two runs in which the machine fails half of the tests
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ciflow.cargo.flaky import State, judge, outage
from ciflow.cargo.history import Trial, trials
from ciflow.store.store import Store
from tests.parts.process import short_folder

CIFLOW = Path(sys.executable).with_name("ciflow")
RATES = (1, 5, 30)  # of 100
TWICE = ("a", "b")
ORDER = "suite::suite order::needs_the_other"
BROKEN = "suite::suite broken"
FLAKY = {rate: {f"suite::suite rate{rate}{one}" for one in TWICE} for rate in RATES}
TRUE = set().union(*FLAKY.values(), {ORDER})
LOOKED_AT = (10, 20, 50, 100)  # runs
OUTAGES = (17, 60)  # runs
BREAKS, MENDS = 30, 33  # commits

SUITE = r"""
use std::{env, fs, hash::{DefaultHasher, Hash, Hasher}, path::PathBuf};

fn drawn(what: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (what, env::var("DICE").unwrap_or_default(), env::var("NEXTEST_ATTEMPT").unwrap_or_default()).hash(&mut hasher);
    hasher.finish() % 100
}

fn by_itself(name: &str, rate: u64) {
    assert!(env::var("OUTAGE").is_err() || drawn("outage") < 50, "the machine is ill");
    assert!(drawn(name) >= rate, "it happens");
}

#[test] fn broken() { assert!(!fs::read_to_string("state").unwrap().contains("broken")); by_itself("broken", 0); }

mod order {
    fn mark() -> super::PathBuf { super::PathBuf::from(super::env::var("MARK").unwrap()) }
    #[test] fn makes_it() { super::fs::write(mark(), "").unwrap(); }
    #[test] fn needs_the_other() {
        let early = super::env::var("EARLY").is_ok() && super::env::var("NEXTEST_ATTEMPT").as_deref() == Ok("1");
        while !early && !mark().exists() { std::thread::sleep(std::time::Duration::from_millis(5)); }
        assert!(!early, "the other has not ended yet");
    }
}
"""


def workspace(root: Path) -> None:
    (root / "src").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "Cargo.toml").write_text('[package]\nname = "suite"\nversion = "1.0.0"\nedition = "2021"\n')
    (root / "src" / "lib.rs").write_text("")
    (root / ".gitignore").write_text("/target\n")
    (root / "state").write_text("")
    named = [(f"steady{number}", 0) for number in range(40)]
    named += [(f"rate{rate}{one}", rate) for rate in RATES for one in TWICE]
    tests = "".join(f'#[test] fn {name}() {{ by_itself("{name}", {rate}); }}\n' for name, rate in named)
    (root / "tests" / "suite.rs").write_text(SUITE + tests)
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=root, check=True)


def commit(root: Path, number: int) -> None:
    (root / "state").write_text(f"{number} {'broken' if BREAKS <= number < MENDS else ''}\n")
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    subprocess.run(["git", *who, "commit", "-qm", str(number)], cwd=root, check=True)


def tested(root: Path, state: Path, run: int, dice: random.Random) -> bool:
    """One run, and whether it was green."""
    mark = root / "target" / "mark"
    mark.unlink(missing_ok=True)
    env = {**os.environ, "DICE": str(dice.random()), "MARK": str(mark)}
    env["PATH"] = f"{CIFLOW.parent}{os.pathsep}{env['PATH']}"
    env |= {"EARLY": "1"} if dice.random() < 1 / 3 else {}
    env |= {"OUTAGE": "1"} if run in OUTAGES else {}
    argv = [str(CIFLOW), "test", str(root), "--offline", "--no-doctests", "--quiet", "--state", str(state)]
    return subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Marks:
    """After `runs`: the shares of what is called flaky that is, and of what is flaky that is called so."""

    runs: int
    precision: float
    recall: float
    found: frozenset[str]


def marks(past: Sequence[Trial]) -> Marks:
    found = {test for test, one in judge(past, past[-1].at).items() if one.state is State.FLAKY}
    precision = len(found & TRUE) / len(found) if found else 1.0
    return Marks(len(past), precision, len(found & TRUE) / len(TRUE), frozenset(found))


def red(past: Sequence[Trial], *, at_first: bool) -> float:
    """The share of runs that nothing but flaky tests made red: in the end, or had nobody tried them again."""
    count = 0
    for trial in past:
        bad = {test for test, one in trial.results.items() if (one.attempts[0] != "P" if at_first else not one.passed)}
        count += bool(bad) and bad <= TRUE and not outage(trial)
    return count / len(past)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    dice, run = random.Random(given.seed), 0
    with short_folder("flaky") as home:
        root, state = home / "suite", home / "state"
        workspace(root)
        for number in range(given.commits):
            commit(root, number)
            for _ in range(2):
                run += 1
                if tested(root, state, run, dice):
                    break
        with Store.open(state, read_only=True) as store:
            past = trials(store.events(kinds=("tests",)))
    told(past)


def told(past: Sequence[Trial]) -> None:
    for runs in (*(one for one in LOOKED_AT if one < len(past)), len(past)):
        one = marks(past[:runs])
        by = ", ".join(f"{len(one.found & tests)} of {len(tests)} at {rate} %" for rate, tests in FLAKY.items())
        order = "found" if ORDER in one.found else "not found"
        print(f"after {runs} runs: precision {one.precision:.2f}, recall {one.recall:.2f}: {by}, order {order}")
    for first, last in ((0, min(50, len(past))), (50, len(past))):
        if first >= last:
            break
        before, after = (red(past[first:last], at_first=at_first) for at_first in (True, False))
        fewer = f"{1 - after / before:.0%} fewer" if before else "none"
        print(f"runs {first + 1} to {last}: red by flaky tests alone {before:.1%}, tried again {after:.1%}: {fewer}")


if __name__ == "__main__":
    main()
