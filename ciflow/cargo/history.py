"""What became of each test in each run: a fold over the events `tests`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ciflow.cargo.junit import JUnitReport, Verdict
from ciflow.dataclass import dataclass
from ciflow.model import Event

_LETTERS = {Verdict.PASSED: "P", Verdict.FAILED: "F", Verdict.TIMEOUT: "T"}


@dataclass(frozen=True)
class Result:
    """One test in one run. `attempts` has a letter for each, in order: P passed, F failed, T took too long."""

    attempts: str
    seconds: float  # of all attempts

    @property
    def failures(self) -> int:
        return len(self.attempts) - self.attempts.count("P")

    @property
    def passed(self) -> bool:
        """In the end."""
        return self.attempts.endswith("P")


@dataclass(frozen=True)
class Trial:
    """One run of a suite. `commit` is the text's identity: the same only where the code was the same ("" unknown)."""

    run: str
    commit: str
    at: float  # Unix seconds
    host: str
    results: Mapping[str, Result]

    @property
    def failed_share(self) -> float:
        """How much of it failed at first. Of a shard, of that shard."""
        return sum(r.attempts[0] != "P" for r in self.results.values()) / len(self.results) if self.results else 0.0


def recorded(report: JUnitReport) -> dict[str, list[Any]]:
    """The event's `results`: {test: [attempts, seconds]}. What was skipped tells nothing, and is left out."""
    found: dict[str, list[Any]] = {}
    for case in report.cases:
        letters = "".join(_LETTERS.get(attempt.verdict, "") for attempt in case.attempts)
        if letters:
            found[case.id] = [letters, round(case.seconds, 3)]
    return found


def trials(events: Iterable[Event]) -> list[Trial]:
    """In order. What is told twice, by a run that was resumed, counts once; quarantined tests ran in the same run."""
    found: dict[tuple[str, ...], Trial] = {}
    for event in events:
        if event.kind != "tests":
            continue
        data = event.data
        results = {test: Result(str(letters), float(seconds)) for test, (letters, seconds) in data["results"].items()}
        key = (event.run, event.play, event.host, event.task)
        if key in found:
            results = {**found[key].results, **results}
        found[key] = Trial(event.run, str(data.get("commit", "")), event.at, event.host, results)
    return sorted(found.values(), key=lambda trial: trial.at)


def seconds(past: Sequence[Trial]) -> dict[str, float]:
    """How long each test takes: the median of its last ten passes without a retry. `cargo test` doesn't say it (0)."""
    every: dict[str, list[float]] = {}
    for trial in past:
        for test, result in trial.results.items():
            if result.attempts == "P" and result.seconds:
                every.setdefault(test, []).append(result.seconds)
    return {test: round(median(taken[-10:]), 3) for test, taken in every.items()}
