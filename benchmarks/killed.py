"""The dead-man: controllers killed at random moments while users are there.

usage: python -m benchmarks.killed [N [ROUTER..]] [--at-once K] [--seconds S] [--add FILE]

Each of N releases is killed with -9 within seconds of its start or of its first step. Then one slot must
serve everybody within `dead_man` (6 s here) and what a guard takes, and no request may have failed. K services are
released, and their controllers killed, beside one another. After S seconds no other begins. With FILE each is added to
those of earlier calls, until there are N.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from tests.e2e.service import Service, kube_service, service
from tests.parts import process
from tests.parts.kube import Kube, kube

ROUTERS = ("envoy", "haproxy", "gateway-api")
LONGEST_S = 5.0  # after it has come to that state until a release is killed
FROM = ("deploying", "holding", "holding", "holding")  # drawn from: most die while two versions have traffic
PATIENCE_S = 60.0  # until one slot must serve everybody
STEPS = ("holding",)
AFTER = ("promoting", "baking", "good")


@dataclass(frozen=True)
class Death:
    """`state` that a release was killed in, the slot that served everybody after it, and after how many seconds."""

    state: str
    slot: str
    promoted: bool
    took_s: float

    @property
    def when(self) -> str:
        if self.state in STEPS:
            return "at a step"
        return "after the promotion" if self.state in AFTER else "before the first turn"


def kill_one(production: Service, rng: random.Random) -> Death:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, hold="1s", bake="2s")
        production.until(version, rng.choice(FROM))
        time.sleep(rng.uniform(0.0, LONGEST_S))
        release.send_signal(signal.SIGKILL)
        release.wait()
        killed = time.monotonic()
        slot = str(process.wait_for(production.only_slot, "all traffic on one slot", PATIENCE_S))
        took_s = time.monotonic() - killed
    states = [e.data["state"] for e in production.events("canary_state") if e.data["version"] == version]
    return Death((states or ["before its start"])[-1], slot, slot != before, took_s)


Told: TypeAlias = "multiprocessing.SimpleQueue[Death | str]"  # a text is why one could not go on, or that it is done


def kill_some(cluster: Kube | None, kind: str, number: int, count: int, until: float, seed: int, told: Told) -> None:
    """Up to `count` of them with a service of their own, the `number`th; none begins after `until`."""
    rng = random.Random(f"{kind} {number} {seed}")
    made = partial(service, kind) if cluster is None else partial(kube_service, cluster, kind, f"e2e-{number}")
    try:
        with made() as production:
            while count and time.monotonic() < until:
                told.put(kill_one(production, rng))
                count -= 1
            told.put("")
    except BaseException as error:
        told.put(f"{type(error).__name__}: {error}")
        raise


@dataclass(frozen=True)
class Known:
    """Those of earlier calls, where a file keeps them."""

    path: Path | None

    def of(self, kind: str) -> list[Death]:
        if self.path is None or not self.path.exists():
            return []
        told = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [Death(**death) for router, death in told if router == kind]

    def add(self, kind: str, death: Death) -> None:
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps([kind, asdict(death)]) + "\n")


@contextlib.contextmanager
def cluster_for(kind: str) -> Iterator[Kube | None]:
    """A cluster, where the router needs one."""
    if kind != "gateway-api":
        yield None
        return
    with process.short_folder("kube") as folder, kube(folder) as cluster:
        yield cluster


def kill_all(kind: str, count: int, at_once: int, seconds: float, known: Known) -> list[Death]:
    """Raises AssertionError where users were hurt."""
    deaths = known.of(kind)
    count -= len(deaths)
    at_once = min(at_once, count)
    fork = multiprocessing.get_context("fork")
    with cluster_for(kind) as cluster:
        told: Told = fork.SimpleQueue()
        until = time.monotonic() + seconds
        counts = [count // at_once + (number < count % at_once) for number in range(at_once)]
        some = partial(kill_some, cluster, kind, until=until, seed=len(deaths), told=told)
        workers = [fork.Process(target=some, args=share) for share in enumerate(counts)]
        for worker in workers:
            worker.start()
        working, wanted = at_once, count + len(deaths)
        while working:
            death = told.get()
            if isinstance(death, str):
                assert not death, death
                working -= 1
                continue
            deaths.append(death)
            known.add(kind, death)
            end = f"{'the new' if death.promoted else 'the old'} version serves everybody after {death.took_s:.1f} s"
            print(f"{kind} {len(deaths)} of {wanted}: killed {death.state}, {end}", flush=True)
        for worker in workers:
            worker.join()
    return deaths


def row(kind: str, deaths: list[Death]) -> str:
    """A line of the table in docs/routers.md."""
    when = Counter(death.when for death in deaths)
    new = Counter(death.when for death in deaths if death.promoted)
    told = [f"{when[name]} ({new[name]})" for name in ("before the first turn", "at a step", "after the promotion")]
    longest = max(death.took_s for death in deaths)
    return f"| {kind} | {len(deaths)} | {' | '.join(told)} | {longest:.1f} s | 0 |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="killed", description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=100)
    parser.add_argument("kinds", nargs="*", default=ROUTERS, metavar="ROUTER")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3_600.0)
    parser.add_argument("--add", type=Path, metavar="FILE")
    given = parser.parse_args()
    for kind in given.kinds:
        print(row(kind, kill_all(kind, given.count, given.at_once, given.seconds, Known(given.add))), flush=True)


if __name__ == "__main__":
    main()
