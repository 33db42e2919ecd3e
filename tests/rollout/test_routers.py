"""The contract of every router, over the real ones, under load. A router that this machine lacks is skipped by name."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from scipy.stats import binom

from ciflow.model import At, Change, Detached, Operation, Probe, Reply, Step
from ciflow.rollout.rollback import Order, roll_back
from ciflow.rollout.routers import CLUSTERED, ROUTERS, Dial, Fenced, Router, RouterError, Sample, interval
from ciflow.rollout.routers.dial import Asked
from ciflow.rollout.routers.filed import FiledRouter
from ciflow.rollout.routers.guard import OnHost
from ciflow.rollout.routers.haproxy import HaproxyRouter
from tests.parts import process
from tests.rollout.kube_rig import kube_rig
from tests.rollout.rig import EDGES, SERVICE, SLOW, Rig, Users, burst, counted, get, rig, sample

STARTED = sorted(set(ROUTERS) - {"command", *CLUSTERED})  # that ciflow starts itself
# Istio has no data plane here, and replicas split but coarsely: test_routers_kube.py has what can be shown of them.
IN_CLUSTER = [pytest.mark.slow, pytest.mark.xdist_group("kube")]
KINDS = [
    pytest.param(kind, marks=IN_CLUSTER if kind in CLUSTERED else ())
    for kind in sorted(set(ROUTERS) - {"istio", "replicas"})
]
SLOWER = {
    "nginx": 4,
    "traefik": 2,
    "command": 2,
    **dict.fromkeys(CLUSTERED, 4),
}  # how many times fewer turns a test has, where one takes tenths of a second


def rig_of(request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[Rig]:
    if request.param in CLUSTERED:
        return kube_rig(request.param, request.getfixturevalue("kube"), folder, folder.name.replace("_", "x"))
    return rig(request.param, folder)


@pytest.fixture(scope="module", params=KINDS)
def shared(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One router of each kind for the tests that leave it as it was."""
    with process.short_folder(request.param) as folder, rig_of(request, folder) as found:
        yield found


@pytest.fixture
def routed(shared: Rig) -> Iterator[Rig]:
    """The shared router, running, at rest on slot a, with no dead-man armed."""
    router = shared.prepared()
    shared.turn(router, 0, live="a")
    yield shared
    process.wait_for(lambda: at_rest(shared, router))


def at_rest(routed: Rig, router: Router) -> bool:
    """Turned back, with no dead-man armed. One that fires between the look and the turn has the turn refused."""
    with suppress(Fenced):
        turned = routed.turn(router, 0, live="a")
        routed.do(router.guard(turned.token, 0))
        return True
    return False


def split(routed: Rig, requests: int) -> Counter[tuple[int, str]]:
    """Where requests go, once whoever routes does as it has said."""
    share = routed.do(routed.router().read()).share
    process.wait_for(lambda: routed.obeys(share))
    return burst(routed.port, requests)


# --- the dial -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 1, 100, 500, 5000, 9900, 10_000])
def test_slot_b_gets_the_share_that_the_dial_says(routed: Rig, share: int) -> None:
    routed.turn(routed.router(), share)
    requests = 1_600
    seen = split(routed, requests)
    to_b = seen[200, "b"]
    assert to_b + seen[200, "a"] == requests
    law = binom(requests, share / 10_000)
    assert min(law.cdf(to_b), law.sf(to_b - 1)) > 1e-6, f"{to_b} of {requests} at {share / 100} %"


def test_no_request_fails_while_the_dial_turns_and_turns(routed: Rig) -> None:
    router = routed.router()
    with Users(routed.port, rate=1_000) as users:
        number = 0
        while number < 200 // SLOWER.get(routed.kind, 1) or users.answers < 1_000:
            routed.turn(router, [100, 500, 2500, 5000, 10_000, 0][number % 6])
            number += 1
    assert users.failures == []
    assert set(users.seen) == {(200, "a"), (200, "b")}


ODD = "Ann O';x <ann&bob@example.org> \\ \u00fc"


def test_what_was_turned_is_read_back_with_token_and_manifest(routed: Rig) -> None:
    """Whatever people write there, and it can be turned again."""
    router = routed.router()
    before = routed.do(router.read())
    to = replace(routed.dial(2_500, before.token + 1), manifest=replace(before.manifest, release="r2", who=ODD))
    turned = routed.do(router.turn(to, before.token, lease=60))
    read = routed.do(routed.router().read())
    assert (read.share, read.token, read.live, read.manifest) == (2_500, before.token + 1, "a", to.manifest)
    assert read == turned
    assert routed.turn(router, 0).at_rest


def test_a_promotion_changes_share_and_live_slot_at_once(routed: Rig) -> None:
    router = routed.router()
    routed.turn(router, 5_000)
    routed.turn(router, 10_000, live="b")
    read = routed.do(router.read())
    assert (read.share, read.live, read.at_rest, read.expires) == (10_000, "b", True, 0.0)
    assert split(routed, 400) == {(200, "b"): 400}


def test_after_a_rollback_nobody_meets_the_candidate_any_more(routed: Rig) -> None:
    router = routed.router()
    routed.turn(router, 5_000)
    with Users(routed.port, rate=500) as users:
        process.wait_for(lambda: users.seen[200, "b"] > 50)
        routed.turn(router, 0)
        process.wait_for(lambda: only(users, "a"))
    assert users.failures == []


def only(users: Users, slot: str) -> bool:
    """Whether everybody meets that slot, for as long as one looks."""
    users.seen.clear()
    time.sleep(0.4)
    return set(users.seen) == {(200, slot)}


def test_no_traffic_goes_to_a_candidate_that_is_not_there(routed: Rig) -> None:
    if routed.kind in CLUSTERED:
        pytest.skip("the object that splits the traffic names its slots: test_routers_kube.py")
    empty = replace(routed, slots={**routed.slots, "b": {"port": process.free_port()}}).router()
    with pytest.raises(RouterError, match="slot b of shield does not answer"):
        routed.turn(empty, 500)
    assert routed.do(routed.router().read()).share == 0


def test_a_turn_without_a_lease_is_refused(routed: Rig) -> None:
    router = routed.router()
    now = routed.do(router.read())
    with pytest.raises(ValueError, match="needs a lease"):
        routed.do(router.turn(replace(now, share=500), now.token))


# --- counters -------------------------------------------------------------------------------------------------


@pytest.fixture
def counting(routed: Rig) -> Rig:
    if not routed.router().counted:
        pytest.skip(f"{routed.kind} counts nothing: gates ask a provider")
    return routed


def test_the_counters_are_what_the_clients_saw(counting: Rig) -> None:
    counting.turn(counting.router(), 5_000)
    before = sample(counting)
    paths = ["/"] * 80 + ["/bad"] * 10 + ["/miss"] * 6 + ["/slow"] * 6
    seen = [timed(counting.port, path) for path in paths]
    counts = counted(counting, before, len(paths))
    for slot in ("a", "b"):
        mine = [one for one in seen if one.slot == slot]
        assert counts[slot].requests == len(mine)
        assert counts[slot].bad == sum(one.status == 500 for one in mine)
        assert counts[slot].client_errors == sum(one.status == 404 for one in mine)
        for edge in EDGES:  # a router sees less of a request than its client; and a busy machine may be slow for both
            slow = sum(one.path == "/slow" and edge < SLOW for one in mine)
            assert slow <= counts[slot].slower[edge] <= sum(one.took > edge for one in mine)
        assert (counts[slot].unanswered, counts[slot].diverted) == (0, 0)


@dataclass(frozen=True)
class Seen:
    """One request as its client saw it; `took` in seconds."""

    path: str
    status: int
    slot: str
    took: float


def timed(port: int, path: str) -> Seen:
    began = time.monotonic()
    status, slot = get(port, path)
    return Seen(path, status, slot, time.monotonic() - began)


def test_a_request_that_its_client_gave_up_counts_as_bad(counting: Rig) -> None:
    before = sample(counting)
    with ThreadPoolExecutor(20) as clients:
        asked = [clients.submit(get, counting.port, "/hang", timeout=0.5) for _ in range(20)]
        assert [one.result() for one in asked] == [(0, "")] * 20
    assert get(counting.port) == (200, "a")
    process.wait_for(lambda: gave_up(counting, before) == 20)
    counts = counted(counting, before, 21)
    assert (counts["a"].requests, counts["a"].bad, counts["a"].slower[EDGES[1]]) == (21, 20, 20)


def gave_up(routed: Rig, before: Sample) -> int:
    counts = interval(before, sample(routed, before))
    assert counts is not None
    return counts["a"].unanswered + counts["a"].overdue


def test_counters_under_load_miss_nobody(counting: Rig) -> None:
    patient: dict[str, Any] = {"overdue": 60} if counting.kind == "haproxy" else {}  # the machine is busy
    router = counting.router(**patient)
    counting.turn(router, 2_500)
    first = last = counting.do(router.counts())
    total: Counter[str] = Counter()

    def add(last: Sample) -> Sample:
        now = counting.do(router.counts(last))
        counts = interval(last, now)
        assert counts is not None
        for slot in ("a", "b"):
            total[slot] += counts[slot].requests
            total["bad"] += counts[slot].bad
        return now

    with Users(counting.port, rate=600) as users:
        for _ in range(10):
            time.sleep(0.1)
            last = add(last)
    samples = [last]

    def all_in() -> bool:
        samples.append(add(samples[-1]))
        return total["a"] + total["b"] >= users.answers

    process.wait_for(all_in)
    assert first.identity == last.identity
    assert total["a"] == users.seen[200, "a"] and total["b"] == users.seen[200, "b"]
    assert total["bad"] == 0


def test_the_limit_of_a_guarded_pause_reads_the_real_counter(counting: Rig) -> None:
    before = watched_errors(counting)
    for _ in range(7):
        get(counting.port, "/bad")
    process.wait_for(lambda: watched_errors(counting) - before >= 7)
    assert watched_errors(counting) - before == 7


def watched_errors(routed: Rig) -> int:
    (watch,) = routed.router().errors("a", 0)
    found = re.search(watch.pattern, routed.host.answer(watch.read).stdout.decode())
    return int(found[1]) if found else 0  # Envoy shows no counter that has not counted yet


# --- a restart of the router ----------------------------------------------------------------------------------


def test_a_killed_router_comes_back_with_the_safe_share_and_the_newest_token(routed: Rig) -> None:
    if routed.kind in CLUSTERED:
        pytest.skip("its dial is in the cluster, and outlives who obeys it")
    router = routed.router()
    now = routed.do(router.read())
    turned = routed.do(router.turn(replace(now, share=5_000, token=now.token + 1), now.token, lease=60))
    before = sample(routed)
    kill(routed)
    read = routed.do(router.read())
    assert (read.share, read.live, read.token) == (0, "a", turned.token)
    assert read.manifest == turned.manifest
    assert split(routed, 200) == {(200, "a"): 200}
    assert interval(before, sample(routed, before)) is None


def kill(routed: Rig) -> None:
    """kill -9 of the router; returns when its supervisor has started another and its port answers."""
    pid = routed.pid
    assert pid > 1  # 0 would be our own process group
    os.kill(pid, signal.SIGKILL)
    process.wait_for(lambda: routed.pid not in (0, pid) and process.answers("127.0.0.1", routed.port))
    process.wait_for(lambda: get(routed.port)[0] == 200)  # Traefik opens its ports before it knows its routes


def test_a_promotion_outlives_a_restart(routed: Rig) -> None:
    router = routed.router()
    routed.turn(router, 10_000, live="b")
    kill(routed)
    assert routed.do(router.read()).share == 10_000
    assert split(routed, 200) == {(200, "b"): 200}


def test_preparing_a_router_that_runs_changes_nothing(routed: Rig) -> None:
    router = routed.router()
    turned = routed.turn(router, 2_500)
    pid = routed.pid
    assert routed.do(router.prepare(routed.dial())) == turned
    assert routed.pid == pid


def test_a_running_router_is_not_restarted_for_another_setting(routed: Rig) -> None:
    if routed.kind not in STARTED:
        pytest.skip("ciflow starts no router there")
    other = routed.router(port=process.free_port())
    with pytest.raises(RouterError, match="runs with other ports, slots, latency edges or times"):
        routed.do(other.prepare(routed.dial()))


# --- two writers ----------------------------------------------------------------------------------------------


def test_a_smaller_token_is_refused_and_the_holder_named(routed: Rig) -> None:
    router = routed.router()
    old = routed.do(router.read())
    taken = replace(old, token=old.token + 1, manifest=replace(old.manifest, who="rollback by ann"))
    routed.do(router.turn(taken, old.token))
    with pytest.raises(Fenced, match=f"token {old.token + 1} of rollback by ann") as refused:
        routed.do(router.turn(replace(old, share=5_000), old.token, lease=60))
    assert refused.value.found.token == old.token + 1
    with pytest.raises(Fenced):
        routed.do(router.guard(old.token, 30))
    assert routed.do(router.read()).share == 0


def test_of_two_writers_that_race_for_the_dial_exactly_one_wins(routed: Rig) -> None:
    races(routed, 100 // SLOWER.get(routed.kind, 1))


def races(routed: Rig, count: int) -> None:
    """Two writers with the same token at once, so many times: one wins, the other is told by whom it was refused."""
    for _ in range(count):
        now = routed.do(routed.router().read())
        results: dict[str, object] = {}
        start = threading.Barrier(2)
        racers = [threading.Thread(target=race, args=(routed, now, name, start, results)) for name in ("ann", "bob")]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        won = [name for name, result in results.items() if isinstance(result, Dial)]
        lost = [result for result in results.values() if isinstance(result, Fenced)]
        assert (len(won), len(lost)) == (1, 1), results
        assert routed.do(routed.router().read()).manifest.who == won[0]


def race(routed: Rig, now: Dial, who: str, start: threading.Barrier, results: dict[str, object]) -> None:
    to = replace(now, token=now.token + 1, manifest=replace(now.manifest, who=who))
    start.wait()
    try:
        results[who] = routed.do(routed.router().turn(to, now.token))
    except Exception as error:
        results[who] = error


@pytest.mark.fault(16)
def test_a_writer_stopped_before_any_of_its_steps_does_no_harm_when_it_goes_on(routed: Rig) -> None:
    """The old controller sleeps before step n, a rollback takes over, the old one goes on: the rollback stands."""
    steps = steps_of_a_turn(routed)
    assert steps >= 4
    for sleep_before in range(0, steps, 5 if routed.kind == "replicas" else 1):  # where pods start at each
        now = routed.do(routed.router().read())
        old = routed.router().turn(replace(now, share=5_000, token=now.token + 1), now.token, lease=60)
        pending: Step | None = next(old)
        for _ in range(sleep_before):
            pending = one_step(routed, old, pending)
        seen = routed.do(routed.router().read())
        rolled = replace(seen, share=0, token=seen.token + 1, manifest=replace(seen.manifest, who="rollback"))
        routed.do(routed.router().turn(rolled, seen.token))
        fenced = not finishes(routed, old, pending)
        read = routed.do(routed.router().read())
        assert (read.share, read.manifest.who) == (0, "rollback"), f"stopped before step {sleep_before}"
        assert fenced or sleep_before > steps / 2, f"stopped before step {sleep_before}, it thinks that it turned"


def claimed(now: Dial) -> Dial:
    """Version 2.0 is to come into slot b."""
    a, b = (replace(slot, observed_good=False, irreversible=(), lost="") for slot in now.manifest.slots)
    slots = (replace(a, version="1.0", observed_good=True, usable=True), replace(b, version="2.0", usable=False))
    return replace(now, share=0, live="a", token=now.token + 1, manifest=replace(now.manifest, slots=slots, who="ci"))


def half_way(now: Dial) -> Dial:
    return replace(now, share=5_000)


def promoted(now: Dial) -> Dial:
    slots = tuple(replace(slot, usable=True) for slot in now.manifest.slots)
    return replace(now, share=10_000, live="b", expires=0.0, manifest=replace(now.manifest, slots=slots))


def gone_back(now: Dial) -> Dial:
    a, b = now.manifest.slots
    manifest = replace(now.manifest, slots=(a, replace(b, version="", usable=False)))
    return replace(now, share=0, live="a", expires=0.0, manifest=manifest)


def another_s_way_back(now: Dial) -> Dial:
    return replace(gone_back(now), token=now.token + 1)


WAY = (claimed, half_way, promoted, gone_back)  # of a release that is promoted and then turned back
Way: TypeAlias = Sequence[Callable[[Dial], Dial]]


def dead_man(routed: Rig, finished: bool) -> None:
    """It fires."""
    router = routed.router()
    assert isinstance(router, FiledRouter | HaproxyRouter)
    for operation in router.give_back():
        assert routed.host.answer(operation).ok
    process.wait_for(lambda: finished or routed.do(router.read()).at_rest)


WAYS = [
    pytest.param(way, id=name)
    for name, way in {
        "claim": WAY[:1],
        "turn": WAY[:2],
        "way back": WAY,
        "rollback": (*WAY[:2], another_s_way_back),
        "rollback of the promoted": (*WAY[:3], another_s_way_back),
    }.items()
]
QUICK = ["envoy", "haproxy"]
OTHERS = ["command", "nginx", "traefik"]  # that do the same, and take tenths of a second for each step


def test_a_rollback_between_any_two_steps_of_a_promotion_goes_back(routed: Rig) -> None:
    goes_back_after_each_step(routed, WAY[:3], 3 if routed.kind == "command" else 1)


@pytest.mark.parametrize("shared", QUICK, indirect=True)
@pytest.mark.parametrize("way", WAYS)
def test_a_rollback_between_any_two_steps_of_another_writer_goes_back(routed: Rig, way: Way) -> None:
    goes_back_after_each_step(routed, way)


@pytest.mark.slow
@pytest.mark.parametrize("shared", OTHERS, indirect=True)
@pytest.mark.parametrize("way", WAYS)
def test_a_rollback_between_any_two_steps_of_a_slow_writer_goes_back(routed: Rig, way: Way) -> None:
    goes_back_after_each_step(routed, way, 3)


@pytest.mark.parametrize(
    "shared", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)], indirect=True
)
def test_a_promotion_that_is_not_finished_is_given_back_by_the_dead_man(routed: Rig) -> None:
    """A rollback then finds the former version live."""
    goes_back_after_each_step(routed, WAY[:3], 2 if routed.kind == "command" else 1, meanwhile=dead_man)


def goes_back_after_each_step(
    routed: Rig, way: Way, stride: int = 1, meanwhile: Callable[[Rig, bool], None] | None = None
) -> None:
    """What is written down and not in force yet does not make a new version the one to trust, and the writer that goes
    on changes nothing any more."""
    ended, step = False, 0
    before = claimed(routed.do(routed.router().read()))
    routed.do(routed.router().turn(before, before.token - 1))
    while not ended:
        now = routed.do(routed.router().read())
        for act in way[:-1]:
            to = act(now)
            now = routed.do(routed.router().turn(to, now.token, 0.0 if to.at_rest else 60.0))
        to = way[-1](now)
        writer = routed.router().turn(to, now.token, 0.0 if to.at_rest else 60.0)
        pending: Step | None = next(writer)
        for _ in range(step):
            pending = one_step(routed, writer, pending)
        ended = pending is None
        if meanwhile:
            meanwhile(routed, ended)
        back = routed.do(roll_back([routed.router()], Order(SERVICE, "ann", "it is bad", time.time(), contested=True)))
        assert back.decision.target.name == "a" and not back.failed, f"{back} before step {step}"
        finishes(routed, writer, pending)
        read = routed.do(routed.router().read())
        assert (read.share, read.live, read.manifest.who) == (0, "a", "ann"), f"before step {step}"
        assert [slot.version for slot in read.manifest.slots] == ["1.0", ""], f"before step {step}"
        step += stride
    assert step >= 4


def one_step(routed: Rig, steps: Asked[Dial], pending: Step | None) -> Step | None:
    """The step after; None when it has come to its end, as one does whose router takes a file sooner than another's."""
    try:
        return None if pending is None else steps.send(answered(routed, pending))
    except StopIteration:
        return None


def answered(routed: Rig, step: Step) -> Reply:
    assert isinstance(step, At)
    assert isinstance(step.step, Probe | Change)
    return routed.host.answer(step.step.operation)


def finishes(routed: Rig, steps: Asked[Dial], pending: Step | None) -> bool:
    """Whether the rest of a turn goes through; False when it is fenced off, or finds its dead-man called off."""
    try:
        while pending is not None:
            pending = one_step(routed, steps, pending)
    except (Fenced, RouterError):
        return False
    return True


def steps_of_a_turn(routed: Rig) -> int:
    seen: list[Operation] = []
    now = routed.do(routed.router().read())
    routed.host.seen = seen.append
    routed.do(routed.router().turn(replace(now, share=5_000), now.token, lease=60))
    routed.host.seen = lambda _: None
    routed.turn(routed.router(), 0)
    return len(seen)


class Killed(BaseException):
    """kill -9 of the controller."""


def test_a_controller_killed_between_any_two_steps_leaves_a_dial_that_can_be_read_and_taken(routed: Rig) -> None:
    for live, share in (("a", 5_000), ("b", 10_000)):
        for after in range(0, steps_of_a_turn(routed), 3 if routed.kind in SLOWER else 1):
            before = routed.turn(routed.router(), 0, live="a")
            left = [after]

            def stop(_: Operation, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed

            routed.host.seen = stop
            to = replace(before, share=share, live=live, token=before.token + 1)
            try:
                routed.do(routed.router().turn(to, before.token, 0.0 if to.at_rest else 60.0))
            except Killed:
                pass
            finally:
                routed.host.seen = lambda _: None
            read = routed.do(routed.router().read())
            assert read.share in (0, share) and read.token in (before.token, before.token + 1)
            back = replace(read, share=0, live="a", token=read.token + 1)
            assert routed.do(routed.router().turn(back, read.token)).share == 0


def test_work_left_to_the_router_s_host_goes_well_only_while_nobody_claims_the_dial(routed: Rig) -> None:
    if routed.kind in CLUSTERED:
        pytest.skip("no host of a cluster does tasks alone")
    router = routed.router()
    assert isinstance(router, OnHost)
    now = routed.do(router.read())
    assert routed.host.answer(router.unclaimed(now.token)).ok
    routed.do(router.turn(replace(now, token=now.token + 1), now.token))
    assert not routed.host.answer(router.unclaimed(now.token)).ok


LEASES = (1.0, 5.0, 25.0)  # seconds; a machine that is too busy to act within the first is given the next

# --- dead-man -------------------------------------------------------------------------------------------------


def test_the_dead_man_gives_the_traffic_back_when_nobody_renews(routed: Rig) -> None:
    router, began = routed.router(), time.monotonic()
    routed.turn(router, 5_000, lease=1.0)
    with Users(routed.port, rate=300) as users:
        process.wait_for(lambda: routed.do(router.read()).share == 0)
        assert time.monotonic() - began >= 1.0
        process.wait_for(lambda: only(users, "a"))
    assert users.failures == []
    assert routed.do(router.guard(routed.do(router.read()).token, 1.0, renew=True)).fired


def test_a_renewed_dead_man_leaves_the_dial_alone(routed: Rig) -> None:
    router = routed.router()
    for lease in LEASES:
        turned, end = routed.turn(router, 5_000, lease=lease), time.monotonic() + 1.5 * lease
        while (armed := routed.do(router.guard(turned.token, lease, renew=True)).armed) and time.monotonic() < end:
            time.sleep(0.2)
        if armed:
            break
    assert armed
    assert routed.do(router.read()).share == 5_000


def test_a_dead_man_that_fires_after_a_promotion_does_not_undo_it(routed: Rig) -> None:
    router = routed.router()
    for lease in LEASES:
        routed.turn(router, 5_000, lease=lease)
        with suppress(Fenced):  # it fired before that
            routed.turn(router, 10_000, live="b")
            break
    time.sleep(lease + 0.5)
    assert routed.do(router.read()).share == 10_000
    assert split(routed, 200) == {(200, "b"): 200}


def test_a_disarmed_dead_man_is_gone(routed: Rig) -> None:
    router = routed.router()
    turned = routed.turn(router, 5_000, lease=60.0)
    routed.turn(router, 0)
    assert not routed.do(router.guard(turned.token, 0)).armed
    assert not routed.do(router.guard(turned.token, 60.0, renew=True)).armed


def test_a_router_that_holds_the_expiry_turns_back_with_no_agent_alive(routed: Rig) -> None:
    router = routed.router()
    if not router.holds_expiry:
        pytest.skip(f"{router.kind} can't hold an expiry: its agent is the only guard")
    for lease in LEASES:
        routed.turn(router, 5_000, lease=lease)
        routed.host.answer(Detached(key=f"guard-{SERVICE}", verb="cancel"))
        if both := (200, "b") in split(routed, 200):
            break
    assert both
    time.sleep(lease)
    assert split(routed, 200) == {(200, "a"): 200}
    assert routed.do(router.read()).share == 0


# --- a slot that crashes --------------------------------------------------------------------------------------


@pytest.fixture(params=sorted(set(ROUTERS) - {*CLUSTERED}))
def own(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A router of this test alone."""
    with process.short_folder(request.param) as folder, rig(request.param, folder) as found:
        yield found


def test_a_crashed_candidate_falls_over_to_stable_and_its_requests_count_as_bad(own: Rig) -> None:
    router = own.prepared()
    own.turn(router, 5_000)
    before = own.do(router.counts())
    own.candidate.process.kill()
    own.candidate.process.wait()
    seen = burst(own.port, 400)
    assert seen == {(200, "a"): 400}
    counts = counted(own, before, 400)
    assert counts["b"].requests > 100 and counts["b"].bad == counts["b"].requests == counts["b"].diverted
    assert counts["a"].bad == 0


@pytest.mark.parametrize("own", STARTED, indirect=True)
def test_a_router_whose_program_is_missing_says_so_and_what_to_do(own: Rig) -> None:
    router = own.router(binary=str(own.folder / "nowhere"))
    with pytest.raises(RouterError, match=r"on localhost \(looked for .*nowhere") as missing:
        own.do(router.prepare(own.dial()))
    assert "binary" in missing.value.help or "install" in missing.value.help.lower()


@pytest.mark.parametrize("own", STARTED, indirect=True)
def test_a_router_that_is_not_there_is_named_with_its_socket(own: Rig) -> None:
    with pytest.raises(RouterError, match=r"asking .* on localhost: .*") as missing:
        own.do(own.router().read())
    assert str(own.settings.get("admin", own.folder)) in missing.value.message


@pytest.mark.parametrize("own", STARTED, indirect=True)
def test_a_port_that_another_program_has_is_an_error_before_anything_starts(own: Rig) -> None:
    router = own.router(port=own.slots["a"]["port"])
    with pytest.raises(RouterError, match=f"port {own.slots['a']['port']} .*another program"):
        own.do(router.prepare(own.dial()))
    assert not own.host.kept
