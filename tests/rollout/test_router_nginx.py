"""What only nginx as a router does: its log goes on when it begins anew, one's own nginx serves too."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ciflow.diagnostics import Refused
from ciflow.model import Detached, Exec
from ciflow.rollout.routers import RouterError, build, interval
from ciflow.rollout.routers import nginx_config as config
from ciflow.rollout.routers.embedded import process_key
from tests.parts import process
from tests.rollout.rig import SERVICE, Rig, counted, get, rig

SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}


@pytest.fixture
def own() -> Iterator[Rig]:
    with process.short_folder("nginx") as folder, rig("nginx", folder) as found:
        yield found


def test_a_tester_with_the_header_meets_the_candidate_at_share_0(own: Rig) -> None:
    router = own.prepared(header={"name": "X-Canary", "value": "yes"})
    own.turn(router, 0, live="a")
    assert {get(own.port, headers={"X-Canary": "yes"}) for _ in range(10)} == {(200, "b")}
    assert {get(own.port) for _ in range(10)} == {(200, "a")}


def test_counts_go_on_over_a_log_that_begins_anew_and_over_a_restart(own: Rig) -> None:
    router = own.prepared()
    own.turn(router, 0, live="a")
    before = own.do(router.counts())
    assert [get(own.port, "/bad") for _ in range(7)] == [(500, "a")] * 7
    log = own.folder / "nginx" / "access.log"
    log.rename(log.with_name("access.log.1"))
    subprocess.run(["kill", "-USR1", str(own.pid)], check=True)
    process.wait_for(lambda: not writers(own, "access.log.1"))
    assert [get(own.port) for _ in range(5)] == [(200, "a")] * 5
    counts = counted(own, before, 12)
    assert (counts["a"].requests, counts["a"].bad) == (12, 7)
    after = own.do(router.counts(before))
    pid = own.pid
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    process.wait_for(lambda: own.pid not in (0, pid) and process.answers("127.0.0.1", own.port), "nginx")
    assert get(own.port) == (200, "a")
    process.wait_for(lambda: own.do(router.counts(after)).slots["a"].requests == after.slots["a"].requests + 1)
    assert interval(after, own.do(router.counts(after))) is None


def writers(own: Rig, name: str) -> list[Path]:
    """Open files of that name of nginx: its workers turn to a new one when its master has told them."""
    found = []
    for pid in (own.pid, *process.descendants(own.pid)):
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(FileNotFoundError):
                found += [file] if file.readlink().name == name else []
    return found


def test_a_line_that_is_still_being_written_is_left_for_the_next_time(own: Rig) -> None:
    router = own.prepared()
    before = own.do(router.counts())
    log = own.folder / "nginx" / "access.log"
    with log.open("a") as file:
        file.write("a|200|0.001|127.0.0.1:1|.\nb|500|0.0")
    half = own.do(router.counts(before))
    with log.open("a") as file:
        file.write("02|127.0.0.1:2|.\n")
    whole = own.do(router.counts(half))
    assert [(s.slots["a"].requests, s.slots["b"].requests, s.slots["b"].bad) for s in (half, whole)] == [
        (1, 0, 0),
        (1, 1, 1),
    ]


# --- an nginx of one's own ------------------------------------------------------------------------------------


def existing(own: Rig, location: str) -> Rig:
    """An nginx that ciflow did not start, kept alive by somebody, with this in its location."""
    etc = own.folder / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "shield.conf").touch()
    (etc / "nginx.conf").write_text(
        f"daemon off; user root; pid {etc}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {etc}/b; proxy_temp_path {etc}/p; keepalive_min_timeout 1s;\n"
        f"include {etc}/shield.conf;\n"
        f"server {{ listen 127.0.0.1:{own.port}; location / {{ {location} }} }} }}\n"
    )
    binary = str(own.router().places[0])  # type: ignore[attr-defined]
    settings = {
        "include": f"{etc}/shield.conf",
        "log": f"{etc}/shield.log",
        "admin": f"127.0.0.1:{process.free_port()}",
        "pid": f"{etc}/nginx.pid",
        "config": f"{etc}/nginx.conf",
        "binary": binary,
        "dir": f"{own.folder}/state",
    }
    run = Exec(argv=(binary, "-e", "stderr", "-c", f"{etc}/nginx.conf"), cwd=str(etc))
    own.host.answer(Detached(key=process_key("nginx", SERVICE), operations=(run,), restart=True))
    process.wait_for(lambda: process.answers("127.0.0.1", own.port), "nginx")
    return replace(own, settings=settings)


def test_ones_own_nginx_is_told_which_lines_it_lacks(own: Rig) -> None:
    mine = existing(own, "return 200;")
    with pytest.raises(RouterError, match=r"nginx on localhost has no line `proxy_pass http://ciflow_shield_") as lack:
        mine.prepared()
    assert f"include {own.folder}/etc/shield.conf;" in lack.value.help


def test_ones_own_nginx_routes_and_is_safe_after_a_restart_of_its_own(own: Rig) -> None:
    etc = own.folder / "etc"
    lines = (
        "proxy_pass http://ciflow_shield_$ciflow_shield_slot; proxy_http_version 1.1;"
        "proxy_set_header Connection $ciflow_shield_connection; proxy_next_upstream error;"
    )
    etc.mkdir()
    (etc / "shield.conf").write_bytes(nginx_include(own, etc))
    mine = existing(own, f'{lines}access_log "{etc}/shield.log" ciflow_shield_log;')
    router = mine.prepared()
    mine.turn(router, 10_000, live="b")
    before = mine.do(router.counts())
    assert {get(mine.port) for _ in range(5)} == {(200, "b")}
    assert counted(mine, before, 5)["b"].requests == 5
    mine.turn(router, 5_000)
    subprocess.run(["kill", "-HUP", (etc / "nginx.pid").read_text().strip()], check=True)  # another tool's reload
    process.wait_for(lambda: mine.do(router.read()).share == 10_000)
    all_on_b = lambda: {get(mine.port) for _ in range(10)} == {(200, "b")}  # noqa: E731
    process.wait_for(all_on_b)  # old workers take some connections more


def nginx_include(own: Rig, etc: Path) -> bytes:
    """What the first attempt leaves in the empty include: the second one finds it."""
    more = {"include": f"{etc}/shield.conf", "log": f"{etc}/shield.log", "admin": f"127.0.0.1:{process.free_port()}"}
    (router,) = build("nginx", more, SERVICE, own.slots, ("localhost",))
    return router.content(own.dial().settled())  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"include": "/i", "log": "/l", "admin": "0.0.0.0:9"}, r"admin of router nginx must be host:port on loopback"),
        ({"include": "/i", "log": "/l", "admin": "/run/nginx/x"}, r"must be host:port on loopback, not /run"),
        ({"include": "/i"}, r"router nginx needs log, admin"),
        ({"embedded": True}, r"router nginx needs port"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        build("nginx", settings, SERVICE, SLOTS, ("localhost",))


def test_a_slot_by_name_is_refused_since_the_log_tells_addresses() -> None:
    named = {**SLOTS, "b": {"address": "b.internal", "port": 80}}
    with pytest.raises(Refused, match=r"slot b at b\.internal: router nginx needs IP addresses"):
        build("nginx", {"embedded": True, "port": 80}, SERVICE, named, ("localhost",))


def test_the_lines_in_the_manual_are_the_ones_that_are_needed() -> None:
    log = "/var/log/nginx/ciflow-shield.log"
    settings = {"include": "/etc/nginx/ciflow/shield.conf", "log": log, "admin": "127.0.0.1:8099"}
    (router,) = build("nginx", settings, SERVICE, SLOTS, ("localhost",))
    manual = (Path(__file__).parents[2] / "docs" / "routers.md").read_text()
    lines = manual.split("```nginx\n")[1].split("```")[0]
    assert lines.strip() == config.snippet(SERVICE, router.settings).strip()  # type: ignore[attr-defined]
