"""What only HAProxy as a router does: a user's own HAProxy, testers, a disk that is full."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import Refused
from ciflow.rollout.routers import NotKept, Router, RouterError, Slot, build
from ciflow.rollout.routers import haproxy_config as config
from tests.parts import haproxy, process
from tests.rollout.rig import SERVICE, Rig, burst, get, rig

SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}


@pytest.fixture
def own() -> Iterator[Rig]:
    with process.short_folder("haproxy") as folder, rig("haproxy", folder) as found:
        yield found


def users_own(own: Rig, map_file: Path, by: str = "") -> tuple[Rig, str]:
    """A rig over an HAProxy that the user runs, and the configuration our documentation asks of it."""
    settings: dict[str, Any] = {"socket": str(own.folder / "admin.sock"), "map": str(map_file), "backend": "web"}
    theirs = replace(own, settings=settings)
    router = theirs.router(by)
    text = config.snippet(router.settings, router.slots)  # type: ignore[attr-defined]
    globals_, frontend, rest = re.split(r"# in the frontend.*\n|# beside it:\n", text)
    basics = "defaults\n    mode http\n    timeout client 30s\n"
    return theirs, f"global\n{globals_}\n{basics}\nfrontend www\n    bind 127.0.0.1:{own.port}\n{frontend}\n{rest}"


def test_the_lines_of_the_documentation_make_a_users_own_haproxy_a_router(own: Rig) -> None:
    map_file = own.folder / "web.map"
    map_file.write_text("")
    theirs, text = users_own(own, map_file)
    with haproxy.haproxy(own.folder, text, [("127.0.0.1", own.port)]):
        assert burst(own.port, 80) == {(200, "a"): 80}  # an empty map: all to slot a
        router = theirs.prepared()
        theirs.turn(router, 10_000, live="b")
        assert burst(own.port, 80) == {(200, "b"): 80}
    assert b"dial 10000:10000:a:r1" in map_file.read_bytes()


@pytest.mark.parametrize(
    ("lost", "said"),  # the last: the least level instead of `operator`
    [
        (r"backend web_b\n(    .*\n)+", "has no backend web_b"),
        (r"    server b .* backup\n", "has no server b in backend web_a"),
        (r"backend web_slower_50_250\n    .*\n", "has no stick table web_slower_50_250"),
        (r"    http-request set-var.*map_str.*\n", r"has no map .*web\.map"),
        (r"operator", "refuses 'show sess'"),
    ],
)
def test_what_a_users_own_haproxy_lacks_is_named_with_the_lines_to_add(own: Rig, lost: str, said: str) -> None:
    map_file = own.folder / "web.map"
    map_file.write_text("")
    theirs, text = users_own(own, map_file)
    lesser = re.sub(lost, "user" if lost == "operator" else "", text)
    assert lesser != text
    if "slower" in lost:
        lesser = re.sub(r"    http-re.*(track-sc0|sc-inc-gpc).*\n", "", lesser)
    lesser = lesser.replace("use_backend web_%[var(txn.web_slot)]", "default_backend web_a")
    with haproxy.haproxy(own.folder, lesser, [("127.0.0.1", own.port)]), pytest.raises(RouterError, match=said) as why:
        theirs.prepared()
    assert "stats socket" in why.value.help


def test_a_users_own_haproxy_that_does_not_keep_users_yet_is_told_the_lines(own: Rig) -> None:
    """`by` was added to the playbook alone. With the lines that are printed then, users stick."""
    map_file = own.folder / "web.map"
    map_file.write_text("")
    theirs, text = users_own(own, map_file)
    place = [("127.0.0.1", own.port)]
    with haproxy.haproxy(own.folder, text, place), pytest.raises(RouterError, match="keeps users by cookie:who") as why:
        theirs.prepared("cookie:who")
    assert "req.cook(who)" in why.value.help
    _, text = users_own(own, map_file, "cookie:who")
    with haproxy.haproxy(own.folder, text, place):
        theirs.turn(theirs.prepared("cookie:who"), 5_000)
        for user in range(10):
            assert len({get(own.port, headers={"Cookie": f"who=u{user}"}) for _ in range(5)}) == 1


def test_a_missing_socket_is_an_error_with_its_path_and_the_lines_to_add(own: Rig) -> None:
    theirs, _ = users_own(own, own.folder / "web.map")
    with pytest.raises(RouterError, match=r"asking HAProxy's socket .*admin\.sock on localhost: .+") as why:
        theirs.prepared()
    assert "level operator" in why.value.help


def test_a_tester_with_the_header_meets_the_candidate_at_share_0(own: Rig) -> None:
    router = own.prepared(header={"name": "X-Canary", "value": "yes"})
    own.turn(router, 0, live="a")
    assert {get(own.port, headers={"X-Canary": "yes"}) for _ in range(10)} == {(200, "b")}
    assert {get(own.port, headers={"X-Canary": "no"}) for _ in range(10)} == {(200, "a")}
    own.turn(router, 10_000, live="b")
    assert get(own.port, headers={"X-Canary": "yes"}) == (200, "a")


def test_a_full_disk_stops_a_step_but_not_the_way_back(own: Rig, tiny_disk: Path) -> None:
    router = own.prepared(map=str(tiny_disk / "dial.map"))
    turned = own.turn(router, 5_000)
    with (tiny_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space"):
        while True:
            ballast.write(b"x" * 512)
    with pytest.raises(RouterError, match=r"writing .*dial\.map on localhost: .*[Nn]o space"):
        own.turn(router, 9_000)
    assert own.do(router.read()).share == 5_000
    with pytest.raises(NotKept, match="HAProxy has the new share, but would lose it when it restarts"):
        own.do(router.turn(replace(turned, share=0, token=turned.token + 1), turned.token))
    assert burst(own.port, 80) == {(200, "a"): 80}


def test_settings_that_do_not_exist_are_refused_before_any_host_is_asked() -> None:
    for settings, said in (
        ({"socket": "/s", "weight": 1}, "has no setting weight"),
        ({}, "needs socket"),
        ({"socket": "s.sock"}, "must be an absolute path"),
    ):
        with pytest.raises(Refused, match=said):
            build("haproxy", settings, SERVICE, SLOTS, ("localhost",))
    with pytest.raises(Refused, match="no router of kind squid"):
        build("squid", {}, SERVICE, SLOTS, ("localhost",))
    with pytest.raises(Refused, match="by: moon is no way"):
        build("haproxy", {"socket": "/s"}, SERVICE, SLOTS, ("localhost",), by="moon")
    with pytest.raises(Refused, match="slots must be a and b"):
        build("haproxy", {"socket": "/s"}, SERVICE, {"a": {"port": 1}}, ("localhost",))


def test_ages_of_requests_are_read_in_haproxys_units() -> None:
    """HAProxy's human_time: two units at most, `1m30s`, `2h5m`, `1d2h`."""
    ages = ("4s", "5s", "1m30s", "2h5m", "1d2h")
    answer = "".join(f"0x1: proto=tcpv4 src=1.2.3.4:5 fe=www be=web_a srv=a ts=00 age={age} calls=1\n" for age in ages)
    assert config.parse_sessions(answer, 5.0) == {"web_a": 4}


def test_an_ipv6_slot_is_written_with_brackets() -> None:
    assert Slot("a", "::1", 8081).authority == "[::1]:8081"


def test_the_lines_in_the_manual_are_the_ones_that_are_needed() -> None:
    settings = {"socket": "/run/haproxy/admin.sock", "backend": "shield", "map": "/etc/haproxy/ciflow/shield.map"}
    (router,) = build("haproxy", settings, "shield", SLOTS, ("lb1",), edges=(0.05, 0.25))
    manual = (Path(__file__).parents[2] / "docs" / "routers.md").read_text()
    lines = manual.split("```haproxy\n")[1].split("```")[0]
    assert lines.strip() == config.snippet(router.settings, router.slots).strip()  # type: ignore[attr-defined]


def test_connections_to_the_slot_that_was_left_are_cut_after_the_time_and_no_others(own: Rig) -> None:
    router = own.prepared()
    own.do(router.can_cut(1.0))
    own.turn(router, 10_000, live="b")
    with hanging(own.port) as left:
        wait_until_open(own, router, "b")
        own.turn(router, 0, live="a")
        with hanging(own.port) as stays:
            wait_until_open(own, router, "a")
            began = time.monotonic()
            own.do(router.cut("b", 1.0))
            assert b" 200 " not in left.recv(1000)
            assert time.monotonic() - began >= 1.0
            assert is_open(stays)


def test_a_release_that_comes_in_between_calls_the_cut_off(own: Rig) -> None:
    router = own.prepared()
    own.turn(router, 10_000, live="b")
    with hanging(own.port) as stays:
        wait_until_open(own, router, "b")
        own.do(router.cut("b", 2.0))
        own.do(router.cut("", 0))
        time.sleep(2.5)
        assert is_open(stays)


def test_a_socket_that_may_not_end_sessions_is_refused_with_the_line_to_write(own: Rig) -> None:
    map_file = own.folder / "web.map"
    map_file.write_text("")
    theirs, text = users_own(own, map_file)
    with haproxy.haproxy(own.folder, text, [("127.0.0.1", own.port)]), pytest.raises(RouterError) as refused:
        theirs.do(theirs.prepared().can_cut(1.0))
    assert "level admin" in refused.value.help


@contextmanager
def hanging(port: int) -> Iterator[socket.socket]:
    """A request that the slot does not answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(b"GET /hang HTTP/1.1\r\nHost: shield\r\n\r\n")
        yield link


def is_open(link: socket.socket) -> bool:
    """Whether nothing has come, not even the end."""
    link.setblocking(False)
    try:
        link.recv(1)
    except BlockingIOError:
        return True
    return False


def wait_until_open(own: Rig, router: Router, slot: str) -> None:
    process.wait_for(lambda: int(own.do(router._rows())[f"{SERVICE}_{slot}", "BACKEND"]["scur"]))  # type: ignore[attr-defined]
