"""Which tests are flaky: pass and fail on the same code. Pure statistics over the history of tests.

Evidence is what happened on one commit: only there is a failure beside a pass surely not the code's. Two explanations
of a test's n attempts with f failures, on commits where it passed at least once, are weighed against each other:

    steady    the test never fails by itself; what fails is noise of the machines, in a share NOISE of attempts
    flaky     it fails by itself at a rate r ~ Beta(A, B), so that f is Beta-Binomial

Their Bayes factor is B(A+f, B+n-f)/B(A, B) / (NOISE^f (1-NOISE)^(n-f)) (Gelman et al., Bayesian Data Analysis, 3rd ed.,
sections 2.4 and 7.4; the binomial coefficient cancels); with the prior share PRIOR of flaky tests it gives the
probability that this one is.
Attempts count less the older they are, half after HALF_LIFE. Runs in which more than OUTAGE of the tests failed are the
machine's fault and don't count at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import Enum

from ciflow.cargo.history import Trial
from ciflow.dataclass import dataclass

HALF_LIFE = 14 * 86_400.0  # seconds
OUTAGE = 0.2
AT_LEAST = 10  # runs
CERTAIN = 0.9  # the probability at which a test is called flaky
A, B = 1.0, 9.0  # a flaky test fails in a tenth of its attempts, before anything is known of it
NOISE = 0.0005
PRIOR = 0.05
BROKEN_AFTER = 3  # failures on the newest commit, and no pass there


class State(Enum):
    """`suspect` may be flaky; `new` has been seen in too few runs to say anything."""

    BROKEN = "broken"
    FLAKY = "flaky"
    SUSPECT = "suspect"
    STEADY = "steady"
    NEW = "new"


@dataclass(frozen=True)
class Judgement:
    """`runs` all that count, `failures` those of attempts on commits where the test also passed, `attempts` these.

    `rate` is the posterior mean of its failures by itself, `probability` that it is flaky, `bound` the rate that
    `runs` without a failure exclude at 95 % (3/n; Hanley and Lippman-Hand 1983), 0 where there were failures.
    """

    test: str
    state: State
    probability: float
    rate: float
    bound: float
    runs: int
    attempts: int
    failures: int
    mixed_commits: int
    clean_passes: int  # attempts in a row that passed, up to now
    last_failure: float  # Unix seconds, 0: none
    last_run: str

    @property
    def sentence(self) -> str:
        """Why it is judged so."""
        seen = f"{self.failures} of {self.attempts} attempts failed on code that it also passed on"
        match self.state:
            case State.BROKEN:
                return f"it fails on the newest commit and has not passed there ({self.failures} flaky failures before)"
            case State.FLAKY:
                return f"{seen}; it fails by itself at about {self.rate:.0%} ({self.probability:.0%} sure)"
            case State.SUSPECT:
                return f"{seen}, which is too little to tell ({self.probability:.0%} sure)"
            case State.NEW:
                return f"seen in {self.runs} of the {AT_LEAST} runs that a judgement takes"
        return f"no failure by itself in {self.runs} runs: its rate is below {self.bound:.1%} (95 % sure)"


@dataclass(slots=True)
class _Commit:
    passes: float = 0.0
    failures: float = 0.0
    counted: int = 0
    failed: int = 0
    newest: float = 0.0


def outage(trial: Trial) -> bool:
    """Whether the machine, not the tests, was at fault. Of fewer than five tests nobody can tell."""
    return len(trial.results) >= 5 and trial.failed_share > OUTAGE


def judge(past: Sequence[Trial], now: float) -> dict[str, Judgement]:
    """Every test that was seen, by name; `now` in Unix seconds. `past` in the order of time."""
    counting = [trial for trial in past if not outage(trial)]
    of_test: dict[str, list[Trial]] = {}
    for trial in counting:
        for test in trial.results:
            of_test.setdefault(test, []).append(trial)
    return {test: _judged(test, seen, now) for test, seen in of_test.items()}


def _judged(test: str, seen: Sequence[Trial], now: float) -> Judgement:
    commits = _commits(test, seen, now)
    passing = [commit for commit in commits.values() if commit.passes]
    weight_failed = sum(commit.failures for commit in passing)
    weight = weight_failed + sum(commit.passes for commit in passing)
    failures = sum(commit.failed for commit in passing)
    mixed = sum(1 for commit in passing if commit.failed)
    probability = flaky_probability(weight_failed, weight - weight_failed)
    newest = max(commits.values(), key=lambda commit: commit.newest)
    broken = not newest.passes and newest.failed >= BROKEN_AFTER
    return Judgement(
        test=test,
        state=State.BROKEN if broken else _state(len(seen), mixed, probability),
        probability=probability,
        rate=(A + weight_failed) / (A + B + weight) if failures else 0.0,
        bound=0.0 if failures else min(1.0, 3 / len(seen)),
        runs=len(seen),
        attempts=sum(commit.counted for commit in passing),
        failures=failures,
        mixed_commits=mixed,
        clean_passes=_clean(test, seen),
        last_failure=max((trial.at for trial in seen if trial.results[test].failures), default=0.0),
        last_run=seen[-1].run,
    )


def _state(runs: int, mixed: int, probability: float) -> State:
    if runs < AT_LEAST:
        return State.SUSPECT if mixed else State.NEW
    if not mixed:
        return State.STEADY
    return State.FLAKY if probability >= CERTAIN else State.SUSPECT


def _commits(test: str, seen: Iterable[Trial], now: float) -> dict[str, _Commit]:
    """Where the commit is not known, each run stands for itself: only its own retries are evidence."""
    commits: dict[str, _Commit] = {}
    for trial in seen:
        commit = commits.setdefault(trial.commit or f"run {trial.run}", _Commit())
        result, weight = trial.results[test], 0.5 ** (max(0.0, now - trial.at) / HALF_LIFE)
        commit.failures += weight * result.failures
        commit.passes += weight * (len(result.attempts) - result.failures)
        commit.failed += result.failures
        commit.counted += len(result.attempts)
        commit.newest = max(commit.newest, trial.at)
    return commits


def _clean(test: str, seen: Sequence[Trial]) -> int:
    letters = "".join(trial.results[test].attempts for trial in seen)
    return len(letters) - len(letters.rstrip("P"))


def flaky_probability(failures: float, passes: float) -> float:
    """That a test with so many (decayed) failures and passes on the same commits fails by itself."""
    log_flaky = _log_beta(A + failures, B + passes) - _log_beta(A, B)
    log_steady = failures * math.log(NOISE) + passes * math.log1p(-NOISE)
    log_odds = math.log(PRIOR / (1 - PRIOR)) + log_flaky - log_steady
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def to_retry(judged: Iterable[Judgement]) -> list[str]:
    """The tests that a retry is right for."""
    return sorted(one.test for one in judged if one.state is State.FLAKY)


def red_by_flakiness(past: Sequence[Trial], judged: dict[str, Judgement]) -> tuple[int, int]:
    """Of how many red runs (outages left out), how many were red by tests judged flaky alone."""
    red = by_flakiness = 0
    for trial in past:
        failed = [test for test, result in trial.results.items() if not result.passed]
        if failed and not outage(trial):
            red += 1
            by_flakiness += all(judged[test].state is State.FLAKY for test in failed if test in judged)
    return red, by_flakiness
