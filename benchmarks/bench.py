"""Measure ciflow beside its peers and the floor: `python -m benchmarks.bench [--rounds 3] [W1 W2 ..]`.

Contenders take turns in an order shuffled anew each round; the try with the least wall time counts. Results go to
benchmarks/results.json, where works not run this time keep what they had.
"""

import argparse
import contextlib
import datetime
import functools
import json
import os
import platform
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks import contenders, peers, rust, rust_distributed, rust_page
from benchmarks.measure import Cost, Failed, end_by_sigterm, measure
from benchmarks.rollback import limit_s, rollbacks
from benchmarks.works import FAR_TASKS, ROUND_TRIP_S, WORKS, Setting, Work
from tests.parts.process import MissingPart, short_folder

RESULTS = Path(__file__).parent / "results.json"
Costs = dict[tuple[str, str], Cost]


@dataclass(frozen=True)
class Result:
    """One line of results.json: seconds, MB of 10^6 bytes, round trips where a delay makes them countable, and the
    shares of compilations that a cache spared and that others did."""

    work: str
    who: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    round_trips_per_task: float | None
    date: str
    machine: str
    hits: float | None = None
    elsewhere: float | None = None


@dataclass(frozen=True)
class Bound:
    """What is needed: `over`'s wall time divided by `under`'s is at most, or at least, `limit`."""

    work: str
    over: str
    under: str
    limit: float
    at_most: bool

    def holds(self, ratio: float) -> bool:
        return ratio <= self.limit if self.at_most else ratio >= self.limit


BOUNDS = (
    Bound("W2", "ciflow", "floor", 1.3, at_most=True),
    Bound("W2", "pyinfra", "ciflow", 2.0, at_most=False),
    Bound("W2", "ansible", "ciflow", 40.0, at_most=False),
    Bound("W3", "pyinfra", "ciflow", 8.0, at_most=False),
    Bound("W4", "pyinfra", "ciflow", 8.0, at_most=False),
    Bound("W5", "ciflow", "floor", 3.0, at_most=True),
    Bound("W6", "ciflow", "floor", 1.3, at_most=True),
    Bound("W9", "ciflow", "cargo-cyclonedx", 1.5, at_most=True),
    Bound("W10", "ciflow", "cargo-audit", 1.0, at_most=True),
    Bound("W10-cold", "ciflow", "cargo-audit", 2.0, at_most=True),
)
# work and contender: (seconds, MB) that it may take at most
LIMITS = {
    ("W6", "ciflow"): (float("inf"), 90.0),
    ("W9-lock", "ciflow"): (0.4, 150.0),
    ("W9", "ciflow"): (float("inf"), 150.0),
}
ROUND_TRIPS_NEEDED = 6 / FAR_TASKS
RUST = {"W11": rust.builds, "W11-distributed": rust_distributed.distributed}
ALL = (*WORKS, "W8", *RUST)
ON_HOSTS = ("floor", "ciflow", "pyinfra", "ansible", "ansible-pipelining", "mitogen")
EVERYBODY = (*ON_HOSTS, "cargo-audit", "cargo-cyclonedx", "syft")


def this_machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = os.cpu_count()
    return f"{model}, {cores} cores, {memory:.0f} GB, Linux {platform.release()}, Python {platform.python_version()}"


def keep_least(costs: Costs, key: tuple[str, str], cost: Cost) -> None:
    if key not in costs or cost.wall_s < costs[key].wall_s:
        costs[key] = cost


def run_work(work: Work, rounds: int, whos: Iterable[str], once: Iterable[str], order: random.Random) -> Costs:
    """Every contender once a round, those of `once` in the first only. One that fails takes no further part."""
    costs: Costs = {}
    standing = [who for who in work.tries if who in whos]
    for number in range(rounds):
        if number == 1:
            standing = [who for who in standing if who not in once]
        order.shuffle(standing)
        for who in list(standing):
            with short_folder("bench") as folder:
                try:
                    for at, step in enumerate(work.tries[who](folder)):
                        place = folder / str(at)
                        place.mkdir()
                        cost = measure(step.command.argv, step.command.env, place, work.whole_tree)
                        keep_least(costs, (step.work, who), cost)
                except (Failed, MissingPart) as failed:
                    print(f"  {who} takes no part: {failed}", file=sys.stderr)
                    standing.remove(who)
                finally:
                    for home in (folder, folder / "near", folder / "far"):
                        contenders.end_ssh_masters(home)
    return costs


def run_rollbacks(rounds: int) -> Costs:
    """W8 has no contender on these parts: each of its figures has a limit of its own."""
    costs: Costs = {}
    try:
        for work, cost in rollbacks(rounds):
            keep_least(costs, (work, "ciflow"), cost)
    except (Failed, MissingPart) as failed:
        print(f"  W8 is not whole: {failed}", file=sys.stderr)
    return costs


def run_rust(name: str, rounds: int, output: Path) -> list[Result]:
    """W11 is judged by aims of its own, beside plain cargo."""
    figures = rust.run(rounds, RUST[name])
    by = {(one.work, one.who): one for one in figures}
    results = [
        replace(line, hits=rounded(by[line.work, line.who].hits), elsewhere=rounded(by[line.work, line.who].elsewhere))
        for line in to_results({key: one.cost for key, one in by.items()})
    ]
    show(f"{name}  a Rust workspace", results)
    for said, met in rust.judged(figures):
        print(f"  {said}: {'good' if met else 'NOT GOOD'}")
    save(results, output)
    if output == RESULTS:
        rust_page.write()
    return results


def round_trips(costs: Costs, who: str) -> float | None:
    """Round trips a task: what the delay adds to the wall time, less what it adds to connecting alone."""

    def added_s(name: str) -> float | None:
        near, far = costs.get(("W7-near", name)), costs.get(("W7", name))
        return far.wall_s - near.wall_s if near and far else None

    whole, connecting = added_s(who), added_s("connection")
    if whole is None or connecting is None:
        return None
    return max(0.0, (whole - connecting) / ROUND_TRIP_S / FAR_TASKS)


def to_results(costs: Costs) -> list[Result]:
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    machine = this_machine()
    return [
        Result(
            work,
            who,
            round(cost.wall_s, 3),
            round(cost.cpu_s, 3),
            round(cost.peak_mb, 1),
            rounded(round_trips(costs, who)) if work == "W7" and who != "connection" else None,
            date,
            machine,
        )
        for (work, who), cost in sorted(costs.items())
    ]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def save(results: Sequence[Result], path: Path) -> None:
    """Write results; a line of the same work and contender is replaced, others stay."""
    kept: list[Mapping[str, object]] = json.loads(path.read_text()) if path.exists() else []
    new = {(result.work, result.who) for result in results}
    lines = [line for line in kept if (line["work"], line["who"]) not in new] + [asdict(result) for result in results]
    lines.sort(key=lambda line: (str(line["work"]), str(line["who"])))
    path.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")


def show(title: str, results: Sequence[Result]) -> None:
    """One line for each contender, with its wall time as a multiple of the floor's and of ciflow's."""
    print(f"\n{title}")
    heads = f"{'wall s':>8} {'cpu s':>8} {'peak MB':>8} {'x floor':>8} {'x ciflow':>8} {'trips/task':>10}"
    print(f"  {'work':<24} {'who':<18} {heads}")
    walls = {(result.work, result.who): result.wall_s for result in results}

    def times(result: Result, who: str) -> str:
        other = walls.get((result.work, who))
        return f"{result.wall_s / other:.2f}" if other else ""

    for result in sorted(results, key=lambda r: (r.work, r.wall_s)):
        trips = "" if result.round_trips_per_task is None else f"{result.round_trips_per_task:.2f}"
        print(
            f"  {result.work:<24} {result.who:<18} {result.wall_s:>8.2f} {result.cpu_s:>8.2f} "
            f"{result.peak_mb:>8.0f} {times(result, 'floor'):>8} {times(result, 'ciflow'):>8} {trips:>10}"
        )


def show_bounds(results: Sequence[Result]) -> bool:
    """Print each bound that can be judged with its ratio; gives whether all hold."""
    by = {(result.work, result.who): result for result in results}
    good = True
    print("\nneeded")
    for bound in BOUNDS:
        over, under = by.get((bound.work, bound.over)), by.get((bound.work, bound.under))
        if over and under:
            ratio = over.wall_s / under.wall_s
            good &= (held := bound.holds(ratio))
            sign = "<=" if bound.at_most else ">="
            line = f"{bound.over} / {bound.under} = {ratio:.2f}, needed {sign} {bound.limit:g}"
            print(f"  {bound.work:<4} {line}: {'good' if held else 'NOT GOOD'}")
    for (work, who), result in by.items():
        seconds, megabytes = LIMITS.get((work, who), (None, None))
        if seconds is not None and megabytes is not None:
            good &= (held := result.wall_s <= seconds and result.peak_mb <= megabytes)
            line = f"{result.wall_s:.2f} s and {result.peak_mb:.0f} MB, needed <= {seconds:g} s and {megabytes:g} MB"
            print(f"  {work}: {line}: {'good' if held else 'NOT GOOD'}")
        if work.startswith("W8"):
            good &= (held := result.wall_s <= limit_s(work))
            print(f"  {work}: {result.wall_s:.2f} s, needed <= {limit_s(work):g}: {'good' if held else 'NOT GOOD'}")
    trips = by[("W7", "ciflow")].round_trips_per_task if ("W7", "ciflow") in by else None
    if trips is not None:
        good &= (held := trips <= ROUND_TRIPS_NEEDED)
        line = f"ciflow's round trips a task = {trips:.2f}, needed <= {ROUND_TRIPS_NEEDED:g}"
        print(f"  W7   {line}: {'good' if held else 'NOT GOOD'}")
    return good


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"which works to run: {' '.join(ALL)} (all)")
    parser.add_argument("--rounds", type=int, default=3, help="tries of each contender; the least counts")
    parser.add_argument("--who", nargs="+", help=f"only these contenders: {' '.join(EVERYBODY)}")
    parser.add_argument("--once", nargs="+", default=[], help="contenders that try once: those who need minutes")
    parser.add_argument("--seed", type=int, help="of the order in which contenders take turns")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    unknown = [name for name in given.works if name not in ALL]
    if unknown:
        parser.error(f"no such work: {' '.join(unknown)}; there are {' '.join(ALL)}")
    return given


def main() -> int:
    given = arguments()
    end_by_sigterm()
    whos = set(given.who or EVERYBODY) | {"connection"}
    order, every = random.Random(given.seed), []
    installed = functools.cache(peers.install)  # not needed for all works, and not small
    for name in given.works or ALL:
        if name in RUST:
            every += run_rust(name, given.rounds, given.output)
            continue
        if name == "W8":
            results = to_results(run_rollbacks(given.rounds))
            show("W8  rollback under load", results)
            save(results, given.output)
            every += results
            continue
        with short_folder(name.lower()) as folder, contextlib.ExitStack() as stack:
            work = stack.enter_context(WORKS[name](Setting(folder, installed())))
            results = to_results(run_work(work, given.rounds, whos, given.once, order))
        show(f"{name}  {work.title}", results)
        save(results, given.output)
        every += results
    return 0 if show_bounds(every) else 1


if __name__ == "__main__":
    sys.exit(main())
