"""Which tests are flaky: on histories that tell it by their make, and on a project that is simulated with a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from ciflow.cargo.flaky import State, flaky_probability, judge, outage, red_by_flakiness, to_retry
from ciflow.cargo.history import Result, Trial, seconds, trials
from ciflow.cargo.nextest import RETRIES
from ciflow.model import Event

DAY = 86_400.0
NOW = 1_000 * DAY


def history(letters: Sequence[tuple[str, str]], test: str = "t", age: float = 0.0) -> list[Trial]:
    """Runs in order: (commit, attempts), all `age` days before NOW."""
    return [
        Trial(f"R{number}", commit, NOW - age * DAY + number, "host", {test: Result(attempts, 1.0)})
        for number, (commit, attempts) in enumerate(letters)
    ]


def state(past: Sequence[Trial], now: float = NOW) -> State:
    return judge(past, now)["t"].state


def test_failing_and_passing_on_one_commit_several_times_is_flaky() -> None:
    past = history([(f"c{n}", "FP" if n % 4 == 0 else "P") for n in range(12)])
    assert state(past) is State.FLAKY
    assert judge(past, NOW)["t"].mixed_commits == 3
    assert to_retry(judge(past, NOW).values()) == ["t"]


def test_a_failure_that_a_commit_brought_and_the_next_took_away_is_not_flakiness() -> None:
    past = history([("good", "P")] * 8 + [("bad", "F")] * 2 + [("mended", "P")] * 8)
    assert state(past) is State.STEADY


def test_broken_now_outranks_flaky_before() -> None:
    past = history([(f"c{n}", "FP" if n % 4 == 0 else "P") for n in range(12)] + [("new", "FFF")])
    assert state(past) is State.BROKEN
    assert to_retry(judge(past, NOW).values()) == []


def test_one_doubtful_failure_is_a_suspicion_and_fewer_than_ten_runs_are_no_judgement() -> None:
    assert state(history([("c", "FP")] + [("c", "P")] * 30)) is State.SUSPECT
    assert state(history([("c", "FP")] * 3)) is State.SUSPECT
    assert state(history([("c", "P")] * 9)) is State.NEW


def test_runs_without_a_failure_exclude_a_rate_of_three_in_n_and_no_less() -> None:
    """The rule of three: 300 runs without a failure leave rates below 1 % possible."""
    judged = judge(history([(f"c{n}", "P") for n in range(300)]), NOW)["t"]
    assert judged.bound == pytest.approx(0.01)
    assert "below 1.0%" in judged.sentence


def test_a_run_in_which_the_machine_failed_does_not_count() -> None:
    names = [f"t{n}" for n in range(10)]
    well = {name: Result("P", 1.0) for name in names}
    ill = {name: Result("F" if n < 3 else "P", 1.0) for n, name in enumerate(names)}
    past = [Trial(f"R{n}", "c", NOW + n, "host", ill if n % 3 == 0 else well) for n in range(30)]
    assert {one.state for one in judge(past, NOW).values()} == {State.STEADY}


def test_old_failures_fade() -> None:
    """After a year of silence what failed three times is no longer called flaky; the day after it is."""
    past = history([(f"c{n}", "FP" if n % 4 == 0 else "P") for n in range(12)])
    assert state(past, NOW + DAY) is State.FLAKY
    assert state(past, NOW + 365 * DAY) is not State.FLAKY


def test_the_probability_is_that_of_the_two_explanations_by_hand() -> None:
    """n = 20, f = 2: Beta-Binomial(2; 20, 1, 9) against Binomial(2; 20, 0.0005), prior 5 to 95."""
    n, f, a, b = 20, 2, 1, 9

    def beta(x: int, y: int) -> float:
        return math.factorial(x - 1) * math.factorial(y - 1) / math.factorial(x + y - 1)

    factor = beta(a + f, b + n - f) / beta(a, b) / (0.0005**f * 0.9995 ** (n - f))
    odds = 0.05 / 0.95 * factor
    assert flaky_probability(f, n - f) == pytest.approx(odds / (1 + odds), rel=1e-9)


def test_events_told_twice_count_once_and_times_are_medians_of_clean_passes() -> None:
    def event(run: str, taken: float, attempts: str = "P") -> Event:
        data = {"commit": "c", "part": "", "results": {"a b": [attempts, taken]}}
        return Event(kind="tests", run=run, at=NOW, play="p", host="h", task="t", data=data)

    past = trials([event("1", 2.0), event("1", 2.0), event("2", 4.0), event("3", 9.0), event("4", 100.0, "FP")])
    assert [trial.run for trial in past] == ["1", "2", "3", "4"]
    assert seconds(past) == {"a b": 4.0}


def test_failures_in_quarantine_are_no_outage() -> None:
    """Six quarantined tests that all fail, told apart from the 44 that gate: a run of 50 in which 12 % failed."""
    events = []
    for part, names, letter in (("", range(44), "P"), ("quarantine", range(44, 50), "F")):
        results = {f"t{n}": [letter, 0.1] for n in names}
        data = {"commit": "c", "part": part, "results": results}
        events.append(Event(kind="tests", run="R", at=NOW, host="h", task="t", data=data))
    (trial,) = trials(events)
    assert len(trial.results) == 50
    assert not outage(trial)


# --- a project, simulated -----------------------------------------------------------------------------------

RATES = (0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.03, 0.03, 0.02)
STEADY = 190


@dataclass
class Project:
    """200 tests, ten of them flaky at RATES. One commit in twenty breaks a test until the next but one; one run in
    fifty meets an outage, in which half of the tests fail. A red run is run again, once, as people do."""

    dice: random.Random
    broken: dict[str, int] = field(default_factory=dict)  # until commit
    runs: int = 0

    @property
    def rates(self) -> dict[str, float]:
        return {f"flaky{n}": rate for n, rate in enumerate(RATES)} | {f"steady{n}": 0.0 for n in range(STEADY)}

    def commits(self, number: int, retried: frozenset[str] = frozenset()) -> Iterator[Trial]:
        for commit in range(number):
            if self.dice.random() < 0.05:
                self.broken[self.dice.choice(sorted(self.rates))] = commit + 2
            self.broken = {test: until for test, until in self.broken.items() if until > commit}
            first = self.run(f"{id(self)}-{commit}", retried)
            yield first
            if not all(result.passed for result in first.results.values()):
                yield self.run(first.commit, retried)

    def run(self, commit: str, retried: frozenset[str]) -> Trial:
        outage = self.dice.random() < 0.02
        self.runs += 1
        results = {test: self.attempts(test, rate, outage, test in retried) for test, rate in self.rates.items()}
        return Trial(f"R{self.runs}", commit, NOW + self.runs * 3600, "host", results)

    def attempts(self, test: str, rate: float, outage: bool, retried: bool) -> Result:
        letters = ""
        for _ in range(1 + RETRIES if retried else 1):
            bad = test in self.broken or self.dice.random() < rate or (outage and self.dice.random() < 0.5)
            letters += "F" if bad else "P"
            if not bad:
                break
        return Result(letters, 1.0)


def marks(past: Sequence[Trial], rates: Mapping[str, float]) -> tuple[float, float]:
    """(precision, recall) of what is judged flaky; nothing judged flaky is precise."""
    found = {test for test, one in judge(past, past[-1].at).items() if one.state is State.FLAKY}
    true = {test for test, rate in rates.items() if rate}
    return (len(found & true) / len(found) if found else 1.0, len(found & true) / len(true))


def test_a_simulated_project_is_judged_ever_better_and_its_red_builds_go(capsys: pytest.CaptureFixture[str]) -> None:
    """The aim is 95 % fewer runs that are red by flakiness alone."""
    lengths = (10, 20, 50, 100, 200)
    table = {runs: [simulated(seed, runs) for seed in range(5)] for runs in lengths}
    means = {runs: [sum(column) / len(row) for column in zip(*row, strict=True)] for runs, row in table.items()}
    with capsys.disabled():
        print()
        for runs, (precision, recall, before, after) in means.items():
            print(
                f"after {runs} runs: precision {precision:.2f}, recall {recall:.2f}; "
                f"red by flakiness alone {before:.0%}, with retries of the judged {after:.1%}, "
                f"{1 - after / before:.0%} fewer"
            )
    assert all(precision == 1.0 for precision, *_ in means.values())
    recalls = [recall for _, recall, *_ in means.values()]
    assert recalls == sorted(recalls) and means[50][1] >= 0.6
    assert 1 - means[200][3] / means[200][2] >= 0.95


def simulated(seed: int, runs: int) -> tuple[float, float, float, float]:
    """Precision and recall after so many runs, and the shares of red ones until then and in the 100 commits after."""
    project = Project(random.Random(seed))
    past = list(project.commits(runs))[:runs]
    judged = judge(past, past[-1].at)
    red, flaky = red_by_flakiness(past, judged)
    assert flaky <= red
    later = list(project.commits(100, frozenset(to_retry(judged.values()))))
    return *marks(past, project.rates), red_share(past), red_share(later)


def red_share(past: Sequence[Trial]) -> float:
    """Runs that were red though no test was broken and no machine ill: by construction only flaky tests fail alone."""
    red = [t for t in past if any(not r.passed for n, r in t.results.items()) and t.failed_share < 0.2]
    by_flakiness = [t for t in red if all(n.startswith("flaky") for n, r in t.results.items() if not r.passed)]
    return len(by_flakiness) / len(past)
