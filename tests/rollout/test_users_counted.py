"""With `by:` a router counts users, too: each once in an interval, and what has met them once in a release."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from ciflow.rollout.routers import Router
from ciflow.rollout.routers.counts import BAD, WINDOW, Counts, Sample, interval
from tests.parts import process
from tests.rollout.rig import EDGES, Rig, get, rig

KINDS = ("haproxy", "nginx")
BY = "header:X-User"


@pytest.fixture(params=KINDS)
def own(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with process.short_folder(request.param) as folder, ExitStack() as stack:
        try:
            yield stack.enter_context(rig(request.param, folder))
        except process.MissingPart as missing:
            pytest.skip(str(missing))


class Crossed(Exception):
    """The clock's window ended in the middle: HAProxy counts a user once in each."""


def asks(own: Rig, router: Router, *asked: tuple[str, str], window: int = -1) -> tuple[dict[str, Counts], int]:
    """These users ask for these paths within one interval, another than `window`: by slot what was counted, and it."""
    while window == (now := _window(own)) and own.kind == "haproxy":
        time.sleep(0.05)
    before = own.do(router.counts())
    for user, path in asked:
        get(own.port, path, {"X-User": user})
    if _window(own) != now:
        raise Crossed
    return counted(own, router, before, len(asked)), now


def _window(own: Rig) -> int:
    """nginx counts a user once from one look to the next."""
    return int(time.time()) // WINDOW if own.kind == "haproxy" else 0


def counted(own: Rig, router: Router, before: Sample, requests: int) -> dict[str, Counts]:
    """What has been counted since, once all requests are."""
    found: list[dict[str, Counts]] = []

    def whole() -> bool:
        found.append(dict(interval(before, own.do(router.counts(before))) or {}))
        return sum(counts.requests for counts in found[-1].values()) == requests

    process.wait_for(whole, "all requests are counted")
    return found[-1]


def released(own: Rig, router: Router, release: str) -> None:
    now = own.do(router.read())
    manifest = replace(now.manifest, release=release)
    own.do(router.turn(replace(now, token=now.token + 1, manifest=manifest), now.token))


def test_a_user_counts_once_in_an_interval_and_what_met_them_once_in_a_release(own: Rig) -> None:
    router = own.prepared(BY)
    own.turn(router, 0, live="a")
    for attempt in range(20):
        released(own, router, f"one-{attempt}")
        try:
            found, window = asks(own, router, ("ann", "/"), ("bob", "/bad"), ("bob", "/bad"), ("cid", "/slow"))
            first = found["a"]
            found, _ = asks(own, router, ("ann", "/"), ("ann", "/"), ("bob", "/bad"), ("cid", "/bad"), window=window)
        except Crossed:
            continue
        break
    again = found["a"]
    assert (first.requests, first.bad, first.seen) == (4, 2, 3)
    assert [first.users[kind] for kind in (BAD, *EDGES)] == [(3, 1), (3, 1), (3, 0)]
    assert (again.requests, again.bad, again.seen) == (4, 2, 3)
    assert again.users[BAD] == (2, 1), "bob is out, and cid had met a slow answer only"
    assert again.users[EDGES[0]] == (2, 0)
    released(own, router, "another")
    before = own.do(router.counts())
    get(own.port, "/bad", {"X-User": "bob"})
    other = counted(own, router, before, 1)["a"]
    assert (other.seen, other.users[BAD]) == (1, (1, 1)), "another release begins anew"


def test_users_are_split_as_the_dial_says_however_often_each_of_them_asks(own: Rig) -> None:
    router = own.prepared(BY)
    own.turn(router, 2_500)
    before, met = own.do(router.counts()), {}
    for number in range(120):
        met[number] = get(own.port, headers={"X-User": f"u{number}"})[1]
    busy = [next(user for user, slot in met.items() if slot == name) for name in "ab"]
    for _ in range(60):
        get(own.port, headers={"X-User": f"u{busy[1]}"})

    found = counted(own, router, before, 180)
    in_b = sum(slot == "b" for slot in met.values())
    more = found["b"].seen - in_b  # the busy one, once more for each further window of the clock
    assert found["a"].seen == 120 - in_b and 0 <= more < 30
    assert found["b"].requests == in_b + 60


def test_a_user_whom_the_other_slot_served_has_met_a_fault(own: Rig) -> None:
    router = own.prepared(BY)
    own.turn(router, 5_000)
    own.candidate.process.kill()
    own.candidate.process.wait()
    before = own.do(router.counts())
    for number in range(30):
        assert get(own.port, headers={"X-User": f"u{number}"}) == (200, "a")
    found = counted(own, router, before, 30)
    meant_for_b = found["b"].seen
    assert meant_for_b > 0 and found["b"].users[BAD] == (meant_for_b, meant_for_b)
    assert found["a"].users[BAD] == (30 - meant_for_b, 0)


def test_nothing_tells_who_a_user_was(own: Rig) -> None:
    """What `by` names may be a session's cookie."""
    router = own.prepared("cookie:session")
    own.turn(router, 5_000)
    for _ in range(3):
        get(own.port, headers={"Cookie": "session=s3cret-of-ann"})
    own.do(router.counts(own.do(router.counts())))
    for path in (own.folder / own.kind).rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path
