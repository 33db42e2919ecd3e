"""What only Traefik as a router does: one's own Traefik is watched, repeatable requests fall over, others don't."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ciflow.diagnostics import Refused
from ciflow.model import Detached, Exec
from ciflow.rollout.routers import RouterError, build
from ciflow.rollout.routers.embedded import process_key
from tests.parts import process
from tests.rollout.rig import EDGES, SERVICE, Rig, get, rig

SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}


@pytest.fixture
def own() -> Iterator[Rig]:
    with process.short_folder("traefik") as folder, rig("traefik", folder) as found:
        yield found


def test_a_tester_with_the_header_meets_the_candidate_at_share_0(own: Rig) -> None:
    router = own.prepared(header={"name": "X-Canary", "value": "yes"})
    own.turn(router, 0, live="a")
    assert {get(own.port, headers={"X-Canary": "yes"}) for _ in range(10)} == {(200, "b")}
    assert {get(own.port) for _ in range(10)} == {(200, "a")}


def test_a_request_that_may_not_be_sent_twice_is_not_given_to_the_other_slot(own: Rig) -> None:
    router = own.prepared()
    own.turn(router, 10_000, live="b")
    own.candidate.process.kill()
    own.candidate.process.wait()
    assert get(own.port) == (200, "a")
    link = http.client.HTTPConnection("127.0.0.1", own.port, timeout=60)
    link.request("POST", "/", body=b"order=1")
    assert link.getresponse().status == 502
    link.close()


def test_what_people_write_is_no_template_of_traefik(own: Rig) -> None:
    """Traefik reads its files as Go templates."""
    router = own.prepared()
    now = own.do(router.read())
    turned = own.turn(router, 500, manifest=replace(now.manifest, why='{{ env "HOME" }} and {{{ x'))
    assert turned.manifest.why == '{{ env "HOME" }} and {{{ x'


# --- a Traefik of one's own -----------------------------------------------------------------------------------


def existing(own: Rig, **start_up: object) -> Rig:
    """A Traefik that ciflow did not start, kept alive by somebody, which reads the files of a folder."""
    (own.folder / "dynamic").mkdir()
    admin = str(own.settings["admin"])
    document = {
        "entryPoints": {"web": {"address": f"127.0.0.1:{own.port}"}, "traefik": {"address": admin}},
        "api": {"insecure": True},
        "metrics": {"prometheus": {"addServicesLabels": True, "buckets": list(EDGES)}},
        "providers": {"providersThrottleDuration": 0, "file": {"directory": f"{own.folder}/dynamic", "watch": True}},
        **start_up,
    }
    (own.folder / "traefik.json").write_text(json.dumps(document))
    run = Exec(argv=(process.find("traefik", "traefik"), f"--configFile={own.folder}/traefik.json"))
    own.host.answer(Detached(key=process_key("traefik", SERVICE), operations=(run,), restart=True))
    process.wait_for(lambda: process.answers("127.0.0.1", own.port), "Traefik")
    route = {"rule": "PathPrefix(`/`)", "entryPoints": ["web"]}
    file = f"{own.folder}/dynamic/shield.yml"
    return replace(own, settings={"file": file, "admin": admin, "route": route, "dir": f"{own.folder}/state"})


def test_ones_own_traefik_gets_the_safe_share_within_a_second_of_its_restart(own: Rig) -> None:
    mine = existing(own)
    router = mine.prepared()
    mine.turn(router, 10_000, live="b")
    assert {get(mine.port) for _ in range(5)} == {(200, "b")}
    mine.turn(router, 0, live="a")
    mine.turn(router, 5_000)
    pid = mine.pid
    os.kill(pid, signal.SIGKILL)
    process.wait_for(lambda: mine.pid not in (0, pid) and mine.do(router.read()).share == 0)
    assert {get(mine.port) for _ in range(10)} == {(200, "a")}
    assert mine.do(router.guard(mine.do(router.read()).token, 30, renew=True)).fired


def test_ones_own_traefik_is_told_which_lines_it_lacks(own: Rig) -> None:
    mine = existing(own, api={"insecure": False, "dashboard": False})
    with pytest.raises(RouterError, match=r"Traefik on localhost does not take .*shield\.yml") as lack:
        mine.prepared()
    assert "api: {insecure: true}" in lack.value.help
    assert f"file: {{directory: {own.folder}/dynamic, watch: true}}" in lack.value.help


def test_an_edge_without_a_bucket_is_an_error_and_not_a_guess(own: Rig) -> None:
    mine = existing(own, metrics={"prometheus": {"addServicesLabels": True, "buckets": [0.25]}})
    router = mine.prepared()
    assert get(mine.port) == (200, "a")
    with pytest.raises(RouterError, match=r"no histogram bucket at 0\.05 s"):
        mine.do(router.counts())


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"embedded": True, "port": 80}, "router traefik needs admin"),
        ({"embedded": True, "port": 80, "admin": "0.0.0.0:9"}, "admin of router traefik must be host:port on loopback"),
        ({"file": "/etc/t/x.toml", "admin": "127.0.0.1:9", "route": {"rule": "x"}}, "must end in .yml"),
        ({"file": "/x.yml", "admin": "127.0.0.1:9", "route": {"entryPoints": ["web"]}}, "without its service"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=re.escape(why)):
        build("traefik", settings, SERVICE, SLOTS, ("localhost",))


def test_sticky_users_are_refused_with_the_routers_that_have_them() -> None:
    with pytest.raises(Refused, match="by: ip is not built for the router traefik") as refused:
        build("traefik", {"embedded": True, "port": 80, "admin": "127.0.0.1:9"}, SERVICE, SLOTS, ("h",), by="ip")
    assert "haproxy, envoy or nginx" in refused.value.help
