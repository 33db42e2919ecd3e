"""The dead-man: controllers killed at random moments while users are there.

usage: python -m benchmarks.killed [N [ROUTER..]]

Each of N releases is killed with -9 within seconds of its start, before, during or after its canary. Then one slot must
serve everybody within `dead_man` (3 s here) and what a guard takes, and no request may have failed.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.service import Service, kube_service, service, wait_for
from tests.parts import process
from tests.parts.kube import kube

ROUTERS = ("envoy", "haproxy", "gateway-api")
LONGEST_S = 6.0  # until when a release is killed
PATIENCE_S = 20.0  # until one slot must serve everybody


@contextmanager
def production_of(kind: str) -> Iterator[Service]:
    if kind != "gateway-api":
        with service(kind) as production:
            yield production
        return
    with process.short_folder("kube") as folder, kube(folder) as cluster, kube_service(cluster) as production:
        yield production


def kill_one(production: Service, moment_s: float) -> tuple[str, str]:
    """(the state that it was killed in, the slot that serves everybody after it)."""
    version = production.next()
    with production.no_request_fails():
        release = production.apply(version, hold="1s", bake="2s")
        time.sleep(moment_s)
        release.send_signal(signal.SIGKILL)
        release.wait()
        slot = wait_for(production.only_slot, "all traffic on one slot", PATIENCE_S)
    states = [e.data["state"] for e in production.events("canary_state") if e.data["version"] == version]
    return (states or ["before its start"])[-1], str(slot)


def main(count: int, kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        rng = random.Random(1)
        states: dict[str, int] = {}
        with production_of(kind) as production:
            for number in range(count):
                state, slot = kill_one(production, rng.uniform(0.0, LONGEST_S))
                states[state] = states.get(state, 0) + 1
                print(f"{kind} {number + 1} of {count}: killed {state}, all traffic on {slot}", flush=True)
        told = ", ".join(f"{state} {times}" for state, times in sorted(states.items()))
        print(f"{kind}: {count} killed ({told}); one slot served everybody after each, and no request failed")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, tuple(sys.argv[2:]) or ROUTERS)
