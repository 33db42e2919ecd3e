"""`by:` on the routers that have it: a user stays on one side, and nobody who met the candidate goes back to stable as
the share grows."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
from scipy.stats import binom

from ciflow.lang.canary import STICKY
from tests.parts import process
from tests.rollout.rig import Rig, rig

USERS = range(200)


@pytest.fixture(params=STICKY)
def own(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with process.short_folder(request.param) as folder, rig(request.param, folder) as found:
        yield found


@dataclass(frozen=True)
class Answer:
    slot: str
    cookie: str  # NAME=VALUE of the one that was set, or nothing


def ask(own: Rig, headers: Mapping[str, str] | None = None, source: str = "127.0.0.1") -> Answer:
    """One request from that address."""
    link = http.client.HTTPConnection("127.0.0.1", own.port, timeout=60, source_address=(source, 0))
    link.request("GET", "/", headers=dict(headers or {}))
    answer = link.getresponse()
    assert answer.status == 200
    found = Answer(answer.getheader("X-Slot", ""), (answer.getheader("Set-Cookie") or "").partition(";")[0])
    link.close()
    return found


def as_user(own: Rig, by: str, user: int) -> str:
    """The slot that this user meets."""
    match by.partition(":")[0]:
        case "header":
            return ask(own, {"X-User": f"u{user}"}).slot
        case "cookie":
            answer = ask(own, {"Cookie": f"other=1; who=u{user}; more=x"})
            assert answer.cookie == "", "it has one already"
            return answer.slot
        case _:
            return ask(own, source=f"127.1.{user}.1").slot


def in_b(own: Rig, by: str) -> set[int]:
    return {user for user in USERS if as_user(own, by, user) == "b"}


def fits(count: int, of: int, share: float) -> bool:
    """Whether so many are no surprise: chance alone goes further once in a million times, to either side."""
    law = binom(of, share)
    return bool(min(law.cdf(count), law.sf(count - 1)) > 1e-6)


@pytest.mark.parametrize("by", ["header:X-User", "cookie:who", "ip"])
def test_who_is_in_at_5_percent_is_in_at_25_and_the_next_release_draws_others(own: Rig, by: str) -> None:
    router = own.prepared(by)
    inside = []
    for share in (500, 2_500, 5_000):
        own.turn(router, share)
        inside.append(in_b(own, by))
        assert fits(len(inside[-1]), len(USERS), share / 10_000)
    assert inside[0] <= inside[1] < inside[2]
    assert in_b(own, by) == inside[2], "a user met both versions at one share"
    now = own.do(router.read())
    own.turn(router, 5_000, manifest=replace(now.manifest, release="r2"))
    assert fits(len(in_b(own, by) ^ inside[2]), len(USERS), 0.5)


def test_a_request_that_names_no_user_is_drawn_by_chance(own: Rig) -> None:
    router = own.prepared("header:X-User")
    own.turn(router, 2_500)
    assert fits(Counter(ask(own).slot for _ in range(200))["b"], 200, 0.25)
    own.turn(router, 10_000, live="b")
    assert {ask(own).slot for _ in range(20)} == {"b"}


def test_a_user_without_a_cookie_is_given_one_and_stays_with_it(own: Rig) -> None:
    own.turn(own.prepared("cookie:who"), 5_000)
    first = [ask(own) for _ in range(60)]
    assert fits(sum(answer.slot == "b" for answer in first), 60, 0.5)
    assert all(answer.cookie.startswith("who=") for answer in first)
    assert len({answer.cookie for answer in first}) == 60, "each is a user of its own"
    assert [ask(own, {"Cookie": answer.cookie}).slot for answer in first] == [answer.slot for answer in first]
