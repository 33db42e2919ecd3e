"""Five judges of a canary on the same streams: `python -m benchmarks.judges [--runs 1000] [--long 10000] [--figure]`.

1,000 requests an interval, 5 % of them the candidate's, stable's share of errors 1 %. A judge looks after each interval
and either lets the release go on or turns it back. Prints what docs/judge.md shows and writes benchmarks/judges.json;
`--figure` draws docs/judge.svg (matplotlib, the extra `plots`).

ciflow is the judge that production uses, whole. The others are the rules that their documents give as the example:

- Argo Rollouts: `successCondition: result[0] >= 0.95`, `failureLimit: 3` (the fourth failed measurement aborts).
- Flagger: `request-success-rate` with `min: 99`, `threshold: 5` (the fifth failed check turns back).
- Kayenta (Spinnaker): Mann-Whitney on the rates of each interval, 98 % confidence, "high" when the interval of the
  difference lies above a quarter of the Hodges-Lehmann estimate; asked after every tenth interval, all points so far.
- z-test: two proportions, everything so far, one-sided 1 %, looked at after every interval.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

from ciflow.rollout.gates import Gate, gates_from
from ciflow.rollout.judge import Counts, Interval, Panel
from ciflow.rollout.simulate import Step, Traffic, simulate, worsened

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

HERE = Path(__file__).parent
BASE, ALPHA, LOOKS = 0.01, 0.01, 60
REQUESTS, SHARE = 1000, 0.05
BEFORE = 12  # intervals of stable alone that ciflow sees before the dial moves
EDGES = (0.1, 0.25, 0.5)  # seconds


@dataclass(frozen=True)
class World:
    """What is true: the candidate's odds of an error as a multiple of stable's after `good` intervals, errors that
    come in clusters, a rate that drifts by a factor e^`drift` either way, stable and candidate both sick from an
    interval on, or users who keep to their slot, of whom one in a hundred always fails and one in a hundred asks `busy`
    times as often as the others (`users`: counted by requests or, as `by:` does, by visits)."""

    name: str
    odds_ratio: float = 1.0
    share: float = SHARE
    good: int = 0
    cluster: int = 1
    drift: float = 0.0
    sick_from: int | None = None
    users: str = ""
    busy: int = 1

    @property
    def looks(self) -> int:
        return LOOKS + self.good

    @property
    def is_fault(self) -> bool:
        """Whether the candidate is worse than ciflow's `tolerate`."""
        return self.odds_ratio > 1.25


WORLDS = (
    World("good"),
    World("good, rate drifts between 0.6 and 1.6 %", drift=0.5),
    World("good, rate drifts between 0.4 and 2.7 %", drift=1.0),
    World("good, errors in clusters of 5", cluster=5),
    World("good, sticky users, without `by`", users="requests"),
    World("the same users, with `by`", users="visits"),
    World("odds 1.25, as tolerated", 1.25),
    World("odds 2", 2),
    World("odds 3", 3),
    World("odds 10", 10),
    World("odds 3 at 50 %, after 60 good intervals", 3, share=0.5, good=60),
    World("both sick (5 %) from interval 20 on", sick_from=20),
    World("good, one sticky user in a hundred asks 50 times as often, without `by`", users="requests", busy=50),
    World("the same, with `by`", users="visits", busy=50),
    World("odds 3 after 20 good intervals, with `by`", 3, good=20, users="visits"),
)
LONG = ("good", "odds 1.25, as tolerated")  # false rollbacks are rare: these need the most runs


@dataclass(frozen=True)
class Streams:
    """Requests and bad ones by run and interval; `before` the same of stable alone before the release."""

    n_c: Ints
    e_c: Ints
    n_s: Ints
    e_s: Ints
    before: tuple[Ints, Ints]


def streams(world: World, runs: int, rng: np.random.Generator) -> Streams:
    if world.users:
        return _of_users(world, runs, rng)
    shape = (runs, BEFORE + world.looks)
    n_c, n_s = round(REQUESTS * world.share), REQUESTS - round(REQUESTS * world.share)
    now = np.arange(-BEFORE, world.looks)
    rate = BASE * np.exp(world.drift * np.sin(now / 6))
    if world.sick_from is not None:
        rate = np.where(now >= world.sick_from, 0.05, rate)
    ours = np.where(now >= world.good, [worsened(p, world.odds_ratio) for p in rate], rate)
    e_c, e_s = (world.cluster * rng.binomial(n // world.cluster, p, shape) for n, p in ((n_c, ours), (n_s, rate)))
    return _split(np.full(shape, n_c), e_c, np.full(shape, n_s), e_s)


def _of_users(world: World, runs: int, rng: np.random.Generator) -> Streams:
    """20,000 users, each here in one interval of twenty. A fault of the candidate's meets any visit with the chance
    that makes the odds of an error what the world says. Whom an error has met is counted no more, where visits are."""
    people, visit, looks = 20_000, REQUESTS / 20_000, BEFORE + world.looks
    extra = (worsened(BASE, world.odds_ratio) - BASE) / (1 - BASE)
    counted = np.zeros((4, runs, looks), dtype=np.int64)
    for run in range(runs):
        fails, ours = rng.random(people) < BASE, rng.random(people) < SHARE
        asks = np.where(rng.random(people) < 0.01, world.busy if world.users == "requests" else 1, 1)
        met = np.zeros(people, dtype=bool)
        for look in range(looks):
            here = np.flatnonzero(rng.random(people, dtype=np.float32) < visit)
            if world.users == "visits":
                here = here[~met[here]]
            faulty = ours[here] & (rng.random(len(here)) < (extra if look >= BEFORE + world.good else 0.0))
            bad = fails[here] | faulty
            met[here[bad]] = True
            of_whom = (ours[here], ours[here] & bad, ~ours[here], ~ours[here] & bad)
            counted[:, run, look] = [asks[here[group]].sum() for group in of_whom]
    return _split(*counted)


def _split(n_c: Ints, e_c: Ints, n_s: Ints, e_s: Ints) -> Streams:
    """The intervals of stable alone, and those of the release."""
    alone = n_s[:, :BEFORE], e_s[:, :BEFORE]
    return Streams(n_c[:, BEFORE:], e_c[:, BEFORE:], n_s[:, BEFORE:], e_s[:, BEFORE:], alone)


# --- the judges: the look (1, 2, ..) at which each run is turned back, or 0 ---------------------------------------


def by_ciflow(s: Streams, *, by_user: bool = False) -> Ints:
    gates = gates_from([{"errors": {}}], ALPHA, by_user=by_user)
    return np.array([_ciflow(gates, s, run) for run in range(len(s.n_c))])


def _ciflow(gates: tuple[Gate, ...], s: Streams, run: int) -> int:
    before = zip(*(part[run].tolist() for part in s.before), strict=True)
    panel = Panel.begin(gates, before=[_interval(-1, 0.0, Counts(0, 0, *row)) for row in before])
    rows = zip(s.n_c[run].tolist(), s.e_c[run].tolist(), s.n_s[run].tolist(), s.e_s[run].tolist(), strict=True)
    for look, row in enumerate(rows, 1):
        panel = panel.observe(_interval(0, SHARE, Counts(*row)))
        if panel.verdict(False).outcome == "bad":
            return look
    return 0


def _interval(step: int, share: float, counts: Counts) -> Interval:
    """Whichever a gate counts: requests, or visits of users."""
    return Interval(step, share, (counts,), users={0.0: (counts,)})


def first(hit: NDArray[np.bool_]) -> Ints:
    """The first true column of each row, from 1; 0 where none is."""
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)


def by_argo(s: Streams) -> Ints:
    return first((1 - s.e_c / np.maximum(s.n_c, 1) < 0.95).cumsum(axis=1) > 3)


def by_flagger(s: Streams) -> Ints:
    return first((1 - s.e_c / np.maximum(s.n_c, 1) < 0.99).cumsum(axis=1) >= 5)


def by_z(s: Streams) -> Ints:
    n_c, e_c, n_s, e_s = (part.cumsum(axis=1) for part in (s.n_c, s.e_c, s.n_s, s.e_s))
    pooled = (e_c + e_s) / (n_c + n_s)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n_c + 1 / n_s))
    with np.errstate(divide="ignore", invalid="ignore"):
        return first((e_c / n_c - e_s / n_s) / spread > NormalDist().inv_cdf(1 - ALPHA))


def by_kayenta(s: Streams) -> Ints:
    return kayenta(s.e_c / np.maximum(s.n_c, 1), s.e_s / np.maximum(s.n_s, 1))


def kayenta(candidate: Floats, stable: Floats, every: int = 10) -> Ints:
    """On one metric value per run and interval."""
    found = np.zeros(len(candidate), dtype=np.int64)
    for run, (ours, theirs) in enumerate(zip(candidate, stable, strict=True)):
        for look in range(every, len(ours) + 1, every):
            lower, estimate = location_shift(ours[:look], theirs[:look])
            if lower > 0.25 * abs(estimate):
                found[run] = look
                break
    return found


def location_shift(x: Floats, y: Floats, confidence: float = 0.98) -> tuple[float, float]:
    """Lower bound and Hodges-Lehmann estimate of how far x lies above y: order statistics of all differences, at the
    normal approximation of Mann and Whitney's U (Hollander, Wolfe, Chicken, Nonparametric Statistics, 4.3)."""
    differences = np.sort(np.subtract.outer(x, y), axis=None)
    m, n = len(x), len(y)
    quantile = NormalDist().inv_cdf(1 - (1 - confidence) / 2)
    rank = math.floor(m * n / 2 - quantile * math.sqrt(m * n * (m + n + 1) / 12))
    return float(differences[max(rank, 0)]) if rank >= 0 else -math.inf, float(np.median(differences))


JUDGES: Mapping[str, Callable[[Streams], Ints]] = {
    "ciflow": by_ciflow,
    "Argo Rollouts": by_argo,
    "Flagger": by_flagger,
    "Kayenta": by_kayenta,
    "z-test": by_z,
}


# --- what they come to --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Of one judge in one world: share of runs turned back, intervals from the fault on (median of those), users who
    met an error that stable would not have given them (mean over all runs)."""

    turned_back: float
    intervals: float | None
    hurt: float

    def cell(self, is_fault: bool) -> str:
        share = percent(self.turned_back)
        if not is_fault or self.intervals is None:
            return share
        return f"{share} · {self.intervals:.0f} · {self.hurt:.0f}"


def percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def outcome(world: World, found: Ints) -> Outcome:
    late = found[found > world.good] - world.good
    extra = round(REQUESTS * world.share) * (worsened(BASE, world.odds_ratio) - BASE)
    exposed = np.where(found > 0, np.maximum(found - world.good, 0), LOOKS)
    when = float(median(late.tolist())) if len(late) else None
    return Outcome(float((found > 0).mean()), when, float(exposed.mean()) * extra)


def compare(world: World, runs: int, seed: int) -> tuple[dict[str, Outcome], dict[str, list[int]]]:
    """All judges on the same streams: outcomes, and when each run was turned back."""
    made = streams(world, runs, np.random.default_rng(seed))
    if world.users == "visits":
        found = {"ciflow": by_ciflow(made, by_user=True)}
    else:
        found = {name: judge(made) for name, judge in JUDGES.items()}
    return {name: outcome(world, each) for name, each in found.items()}, {n: f.tolist() for n, f in found.items()}


# --- latency ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slowness:
    """Latencies are lognormal, median 100 ms, sigma 0.5 (99 % below 320 ms); the candidate's are `factor` times that,
    and a share `tail` of them ten times."""

    name: str
    factor: float = 1.0
    tail: float = 0.0


SLOW = (Slowness("good"), Slowness("all 1.3 times slower", 1.3), Slowness("one in twenty takes ten times", tail=0.05))


def slow_runs(world: Slowness, runs: int, seed: int) -> dict[str, tuple[float, float | None]]:
    """Share turned back within 60 looks, and the median look, by judge. Kayenta gets the mean latency of each
    interval, Flagger its default: a 99th percentile of at most 500 ms, five failed checks."""
    rng = np.random.default_rng(seed)
    n_c, n_s = round(REQUESTS * SHARE), REQUESTS - round(REQUESTS * SHARE)
    stable = rng.lognormal(math.log(0.1), 0.5, (runs, LOOKS, n_s))
    ours = rng.lognormal(math.log(0.1 * world.factor), 0.5, (runs, LOOKS, n_c))
    ours = np.where(rng.random(ours.shape) < world.tail, 10 * ours, ours)
    flagger = first((np.quantile(ours, 0.99, axis=2) > 0.5).cumsum(axis=1) >= 5)
    shifted = kayenta(ours.mean(axis=2), stable.mean(axis=2))
    gates = gates_from([{"latency": {"slower_than": list(EDGES)}}], ALPHA)
    slower = {edge: ((ours > edge).sum(axis=2), (stable > edge).sum(axis=2)) for edge in EDGES}
    own = np.zeros(runs, dtype=np.int64)
    for run in range(runs):
        panel = Panel.begin(gates)
        for look in range(LOOKS):
            slow = {b: (Counts(n_c, int(c[run, look]), n_s, int(s[run, look])),) for b, (c, s) in slower.items()}
            panel = panel.observe(Interval(0, SHARE, (), slow))
            if panel.verdict(False).outcome == "bad":
                own[run] = look + 1
                break
    found = {"ciflow": own, "Flagger": flagger, "Kayenta": shifted}
    return {n: (float((f > 0).mean()), median(f[f > 0].tolist()) if (f > 0).any() else None) for n, f in found.items()}


# --- whole releases -----------------------------------------------------------------------------------------------


def healthy(rate: float, requests_per_second: float, runs: int) -> dict[str, float | None]:
    """A release that is as good as stable, through 1, 5, 25 and 50 % with holds of two minutes: how it ends."""
    steps = [Step(weight, 120.0) for weight in (0.01, 0.05, 0.25, 0.5)]
    report = simulate(steps, gates_from([{"errors": {}}], ALPHA), Traffic(requests_per_second, rate), runs=runs)
    return {
        "promoted": report.promoted,
        "paused": report.inconclusive,
        "rolled_back": report.rolled_back,
        "minutes": report.promote_median and report.promote_median / 60,
    }


HEALTHY = tuple((rate, rps) for rps in (50.0, 200.0, 1000.0) for rate in (0.0, 0.001, 0.01))


def measure(runs: int, long: int) -> dict[str, object]:
    """Everything, on as many processes as there are cores; each world has a seed of its own."""
    with ProcessPoolExecutor() as pool:
        jobs = {
            world: pool.submit(compare, world, long if world.name in LONG else runs, seed)
            for seed, world in enumerate(WORLDS, 1)
        }
        slow = {world.name: pool.submit(slow_runs, world, runs // 2, 100 + n) for n, world in enumerate(SLOW)}
        well = {pair: pool.submit(healthy, *pair, runs // 5) for pair in HEALTHY}
        errors = {
            world.name: {name: [o.turned_back, o.intervals, o.hurt] for name, o in job.result()[0].items()}
            for world, job in jobs.items()
        }
        curves = {
            world.name: {name: curve(found, world) for name, found in job.result()[1].items()}
            for world, job in jobs.items()
            if world.name in ("good", "odds 3")
        }
        return {
            "runs": runs,
            "long": long,
            "errors": errors,
            "latency": {name: job.result() for name, job in slow.items()},
            "healthy": [[*pair, job.result()] for pair, job in well.items()],
            "curves": curves,
        }


def curve(found: list[int], world: World) -> list[float]:
    """The share of runs turned back by each look."""
    hits = np.asarray(found)
    return [round(float(((hits > 0) & (hits <= look)).mean()), 4) for look in range(1, world.looks + 1)]


# --- what is shown ------------------------------------------------------------------------------------------------


def tables(result: Mapping[str, object]) -> list[list[str]]:
    """Three tables in Markdown, as docs/judge.md has them."""
    return [_errors(result["errors"]), _latency(result["latency"]), _healthy(result["healthy"])]


def _errors(found: object) -> list[str]:
    assert isinstance(found, dict)
    rows = [f"| the candidate | {' | '.join(JUDGES)} |", "|---" * (len(JUDGES) + 1) + "|"]
    for world in WORLDS:
        of = found[world.name]
        cells = [Outcome(*of[judge]).cell(world.is_fault) if judge in of else "" for judge in JUDGES]
        rows.append(f"| {world.name} | {' | '.join(cells)} |")
    return rows


def _latency(found: object) -> list[str]:
    assert isinstance(found, dict)
    judges = list(next(iter(found.values())))
    rows = [f"| latency of the candidate | {' | '.join(judges)} |", "|---" * (len(judges) + 1) + "|"]
    for name, by_judge in found.items():
        good = name == "good"
        cells = [percent(share) + ("" if good or not look else f" · {look:.0f}") for share, look in by_judge.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _healthy(found: object) -> list[str]:
    assert isinstance(found, list)
    heads = ("requests/s", "stable's errors", "promoted", "paused at the deadline", "turned back", "minutes")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for rate, rps, end in found:
        minutes = "" if end["minutes"] is None else f"{end['minutes']:.0f}"
        shares = " | ".join(percent(end[key]) for key in ("promoted", "paused", "rolled_back"))
        rows.append(f"| {rps:.0f} | {rate:.1%} | {shares} | {minutes} |")
    return rows


def draw(result: Mapping[str, object], path: Path) -> None:
    """Share turned back by look, for a good release and for one with three times the odds of an error."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ciflow"
    from matplotlib import pyplot

    curves = result["curves"]
    assert isinstance(curves, dict)
    figure, both = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    titles = {"good": "good release: lower is better", "odds 3": "three times the odds: sooner is better"}
    for axes, (name, lines) in zip(both, curves.items(), strict=True):
        for judge, line in lines.items():
            axes.step(range(1, len(line) + 1), [100 * y for y in line], where="post", label=judge)
        axes.set_title(titles[name])
        axes.set_xlabel("intervals of 1,000 requests")
    both[0].set_ylabel("turned back, %")
    both[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--long", type=int, default=10_000)
    parser.add_argument("--figure", action="store_true")
    options = parser.parse_args()
    result = measure(options.runs, options.long)
    (HERE / "judges.json").write_text(json.dumps(result) + "\n")
    for table in tables(result):
        print("\n".join(table), end="\n\n")
    if options.figure:
        draw(result, HERE.parent / "docs" / "judge.svg")


if __name__ == "__main__":
    main()
