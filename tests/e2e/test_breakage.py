"""Things that are not as they should be: a clear error, the right exit code, nothing half done."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from ciflow.store.store import Store
from tests.conftest import Start
from tests.e2e.service import Service, finish
from tests.parts.process import free_port, wait_for
from tests.parts.tinyfs import tinyfs
from tests.rollout.host import AgentHost


def fill(disk: Path) -> None:
    """To the last byte."""
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 4096)


def test_a_port_that_is_taken(production: Service) -> None:
    """A second service, whose router's port somebody else has."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = production.write("taken.yml", port=port, dir=str(production.home / "taken"))
        path.write_text(path.read_text().replace("service: shield", "service: taken"))
        code, said = finish(production.apply("9.0", playbook="taken.yml"))
    assert code == 5 and f"port {port} is taken by another program" in said, said
    assert production.ran("9.0") == []


def test_a_router_that_is_not_installed(production: Service) -> None:
    path = production.write("missing.yml", binary="/nowhere/envoy", dir=str(production.home / "m"), port=free_port())
    path.write_text(path.read_text().replace("service: shield", "service: missing"))
    code, said = finish(production.apply("9.0", playbook="missing.yml"))
    assert code == 5 and "no Envoy on localhost" in said and "pip install" in said, said
    assert production.ran("9.0") == []


def test_a_program_that_dies_at_once(production: Service) -> None:
    version, before = production.next(), production.live()
    with production.no_request_fails():
        code, said = finish(production.apply(version, kind="dies"))
    assert code == 4 and "died while starting" in said and "no configuration" in said, said
    assert production.live() == before and "verify" not in production.ran(version)
    assert production.ciflow("rollback", "shield")[0] == 0


def test_a_router_killed_in_a_hold_is_started_again_and_turned_again(
    production: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor starts it on the safe share; who was connected must connect again."""
    version, before = production.next(), production.live()
    release = production.apply(version, hold="3s")
    wait_for(lambda: any(e.data["version"] == version for e in production.events("dial")), "a turned dial")
    time.sleep(0.3)
    monkeypatch.setenv("HOME", str(production.home))
    with AgentHost() as host:
        os.kill(int(host.state("process/envoy-shield")["pid"]), signal.SIGKILL)
    code, said = finish(release)
    assert code == 0, said
    assert "was back on the safe share" in said, said
    assert production.live() != before


def test_the_journals_disk_fills_up_in_a_hold(production: Service, start: Start, tmp_path: Path) -> None:
    """Turning back needs no journal; nothing else is done after it."""
    disk = start(tinyfs(tmp_path / "disk", 24_576))
    version, before = production.next(), production.live()
    with production.no_request_fails():
        release = production.apply(version, state=disk / "state", hold="120s")
        wait_for(lambda: production.events("dial", state=disk / "state"), "a turned dial")
        fill(disk)
        code, said = finish(release)
    assert code == 1 and "all traffic is back, not recorded" in said, said
    assert production.live() == before
    (disk / "filler").unlink()
    with Store.open(disk / "state") as store:
        store.check()


def test_a_rollback_on_a_full_disk(production: Service, start: Start, tmp_path: Path) -> None:
    disk = start(tinyfs(tmp_path / "disk", 24_576))
    version, before = production.next(), production.live()
    code, said = finish(production.apply(version, state=disk / "state"))
    assert code == 0, said
    fill(disk)
    code, said = production.ciflow("rollback", "shield", state=disk / "state")
    assert code == 0 and "Rolled back" in said and "Not recorded" in said, said
    assert production.live() == before
