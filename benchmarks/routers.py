"""The heavy figures of the routers' contract: turns of the dial under load, and races of two writers for it.

usage: python -m benchmarks.routers [--turns N] [--rate R] [--races N] [--pods N] [ROUTER..]

Of each router: no request fails while the dial turns N times at R requests a second, and of two writers that race for
it exactly one wins, each of N times. It says which rate this machine came to, and what a turn took. Istio, which has no
data plane here, has the races only. `--pods`: how many addresses a slot has in a cluster.
Traefik keeps two idle connections to each of an Ingress of ingress-nginx (github.com/traefik/traefik/issues/13123), so
that a slot of one address gets a new connection for most requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ciflow.modules.load import SCRIPT
from ciflow.rollout.routers import CLUSTERED
from tests.parts import process
from tests.parts.kube import kube
from tests.rollout import test_routers as contract
from tests.rollout.kube_rig import crowd_rig, kube_rig
from tests.rollout.rig import Rig, rig

KINDS = ("haproxy", "envoy", "nginx", "traefik", "command", "gateway-api", "ingress-nginx", "istio", "replicas")
UNLOADED = ("istio",)  # nobody here obeys it
SHARES = (100, 500, 2_500, 5_000, 10_000, 0)
PODS = (2_500, 5_000, 7_500, 10_000, 7_500, 5_000, 2_500, 0)  # where a turn starts pods: of four, one each
START_S = 1.5  # seconds until a load is at its rate
REST_S = 4.0  # seconds of a load without a turn
SLOW_MS = 500.0  # a request in a hundred takes as long on a machine that has too much to do
OVERLOADED = {"timeout", "no connection in time"}  # what a load says that nobody answers fast enough
LEAST = 200.0  # requests a second; who times out at fewer is broken
END_S = 5.0  # seconds that its last requests may take


class Failed(Exception):
    """A router did not keep its contract."""


@contextlib.contextmanager
def rig_of(kind: str, pods: int) -> Iterator[Rig]:
    with process.short_folder(kind) as folder, contextlib.ExitStack() as stack:
        if kind not in CLUSTERED:
            yield stack.enter_context(rig(kind, folder))
            return
        cluster = stack.enter_context(kube(stack.enter_context(process.short_folder("kube"))))
        given = (cluster, folder, "routers")
        yield stack.enter_context(crowd_rig(*given) if kind == "replicas" else kube_rig(kind, *given, pods))


@contextlib.contextmanager
def load(routed: Rig, rate: float) -> Iterator[Path]:
    """Requests at that rate from a process of its own; the path of its report."""
    report, url = routed.folder / "load.json", f"http://{routed.address}:{routed.port}/"
    argv = [sys.executable, SCRIPT, "--url", url, "--rate", str(rate), "--connections", "64"]
    with subprocess.Popen([*argv, "--report", str(report), "--version-header", "X-Slot"]) as running:
        try:
            time.sleep(START_S)
            yield report
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(END_S * 4)


def bearable(routed: Rig, rate: float) -> float:
    """The rate at which this machine fails nobody while no dial turns: `rate`, or the half of it, and so on."""
    with load(routed, rate) as report:
        time.sleep(REST_S)
    told = json.loads(report.read_text())
    if told["failed"] or told["achieved_rate"] < rate * 0.95 or told["latency_ms"]["p99"] > SLOW_MS:
        said = f"{told['achieved_rate']:.0f} came, {told['failed']} failed, p99 {told['latency_ms']['p99']:.0f} ms"
        print(f"{routed.kind}: {rate:g} requests/s are too much here without any turn: {said}", flush=True)
        return bearable(routed, rate / 2)
    return rate


def turns(routed: Rig, count: int, wanted: float) -> str:
    """So many turns under load: a line of what came of it."""
    router = routed.prepared()
    routed.turn(router, 0, live="a")
    rate = bearable(routed, wanted)
    shares = PODS if routed.kind == "replicas" else SHARES
    with load(routed, rate) as report:
        began = time.monotonic()
        for number in range(count):
            routed.turn(router, shares[number % len(shares)])
        took = (time.monotonic() - began) / count
    routed.turn(router, 0)
    told: dict[str, Any] = json.loads(report.read_text())
    if set(told["errors"]) & OVERLOADED and not set(told["errors"]) - OVERLOADED and rate > LEAST:
        print(f"{routed.kind}: {rate:g} requests/s are too much here beside its turns: {told['errors']}", flush=True)
        time.sleep(REST_S)
        return turns(routed, count, rate / 2)
    if told["failed"] or told["errors"] or set(told["by_status"]) != {"200"} or set(told["by_version"]) != {"a", "b"}:
        raise Failed(f"{routed.kind}: {told}")
    return (
        f"{count} turns at {told['achieved_rate']:.0f} requests/s, {took * 1000:.0f} ms each: "
        f"{told['served']} answered, none failed, {told['retried']} sent once more on a connection that had ended"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="routers", description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="ROUTER")
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2_000.0)
    parser.add_argument("--races", type=int, default=1_000)
    parser.add_argument("--pods", type=int, default=1)
    given = parser.parse_args()
    for kind in given.kinds:
        with rig_of(kind, given.pods) as routed:
            if given.turns and kind not in UNLOADED:
                print(f"{kind}: {turns(routed, given.turns, given.rate)}", flush=True)
            routed.turn(routed.prepared(), 0, live="a")
            began = time.monotonic()
            contract.races(routed, given.races)
            took = (time.monotonic() - began) / max(1, given.races)
            said = f"{given.races} races of two writers, {took * 1000:.0f} ms each: one won each time"
            print(f"{kind}: {said}", flush=True)


if __name__ == "__main__":
    main()
