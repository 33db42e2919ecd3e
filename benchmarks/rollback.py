"""W8: `ciflow rollback` as a whole process while users are there, at a canary step and after the promotion.

Two figures each: how long the process takes, and when the bad version gave its last answer, from the process's start.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks import contenders
from benchmarks.measure import Cost, Failed, measure
from tests.e2e.service import NAME, Service, finish, kube_service, service
from tests.parts import process
from tests.parts.kube import kube

ROUTERS = ("haproxy", "envoy")
LIMITS_S = {"": 1.0, "-last": 0.5}  # of the process, and until the last answer of the bad version
IN_CLUSTER_S = 1.0  # until the last answer, where another program has to hear of it first
AFTER_S = 1.0  # users are watched for so long after the rollback has ended


def rollbacks(rounds: int) -> Iterator[tuple[str, Cost]]:
    """(name of the figure, cost) for each router, situation and round. MissingPart where a router is missing."""
    for kind in ROUTERS:
        with service(kind) as production:
            yield from _rounds(production, rounds)
    with process.short_folder("kube") as folder, kube(folder) as cluster, kube_service(cluster) as production:
        yield from _rounds(production, rounds)


def _rounds(production: Service, rounds: int) -> Iterator[tuple[str, Cost]]:
    for _ in range(rounds):
        yield from _at_a_step(production)
        yield from _after_promotion(production)


def limit_s(work: str) -> float:
    """How many seconds a figure may come to."""
    if "gateway-api" in work:
        return IN_CLUSTER_S
    return LIMITS_S["-last" if work.endswith("-last") else ""]


def _at_a_step(production: Service) -> Iterator[tuple[str, Cost]]:
    version, before = production.next(), production.live()
    release = production.apply(version, hold="60s", deadline="5m")
    production.until(version, "holding")
    time.sleep(0.5)
    yield from _measured(production, "step", before)
    finish(release)


def _after_promotion(production: Service) -> Iterator[tuple[str, Cost]]:
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version))
    if code != 0:
        raise Failed(f"the release ended with {code}: {said}")
    yield from _measured(production, "promoted", before)


def _measured(production: Service, situation: str, stable: str) -> Iterator[tuple[str, Cost]]:
    bad = "b" if stable == "a" else "a"
    folder = production.home / f"bench-{time.monotonic_ns()}"
    folder.mkdir()
    env = {"HOME": str(production.home), "CIFLOW_STATE": str(production.state)}
    argv = contenders.ciflow("rollback", NAME).argv  # which the first time installs it
    with production.no_request_fails():
        began = time.monotonic()
        cost = measure(argv, env, folder)
        time.sleep(AFTER_S)
    last_s = max(0.0, production.users.last[bad] - began)
    if time.monotonic() - production.users.last[bad] < AFTER_S / 4:
        raise Failed(f"slot {bad} still answers after the rollback")
    work = f"W8-{production.kind}-{situation}"
    yield work, cost
    yield f"{work}-last", replace(cost, wall_s=last_s)
