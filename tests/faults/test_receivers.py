"""Receivers of notifications at their worst, and a kill while one is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ciflow.store.store import Store
from tests.parts.process import wait_for
from tests.parts.receivers import Web, web
from tests.security.tool import Tool

PLAY = """
- name: Ship
  hosts: localhost
  gather_facts: false
  tasks:
    - {name: Begin, shell: "echo begun >> LOG"}
    - {name: Wait, shell: "until test -e GO; do sleep 0.02; done"}
"""


@pytest.fixture
def server() -> Iterator[Web]:
    with web() as made:
        yield made


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


def write(tool: Tool, *told: str) -> None:
    listed = "".join(f"  - {{to: webhook, url: {url}, on: [started, succeeded]}}\n" for url in told)
    plays = PLAY.replace("LOG", str(tool.folder / "log")).replace("GO", str(tool.folder / "go"))
    tool.write("play.yml", f"name: Shop\nnotifications:\n{listed}plays:\n" + plays.replace("\n", "\n  "))


@pytest.mark.fault(25)
def test_the_worst_receivers_change_nothing_of_a_run_and_each_is_said_once(tool: Tool, server: Web) -> None:
    (tool.folder / "go").touch()
    manners = ("hang", "drip", "500", "reset", "away", "huge")
    write(tool, *(f"{server.url}/{manner}/secret-path-{manner}" for manner in manners), "http://nowhere.invalid/x")
    began = time.monotonic()
    said = tool.run("apply", "play.yml", timeout=60)
    print(f"\nwith seven bad receivers: {time.monotonic() - began:.1f} s in all")
    text = said.err.decode()
    assert said.code == 0 and "Done." in text, text
    assert (tool.folder / "log").read_text() == "begun\n"
    assert text.count("was not told that Shop started") == 6, "all but who answers without end"
    assert "secret-path" not in text
    logs = tool.run("logs").out.decode()
    assert logs.count("notified") >= 14 and "secret-path" not in logs


@pytest.mark.fault(25)
def test_a_kill_before_it_is_recorded_tells_again_under_the_same_id_and_what_was_recorded_never(
    tool: Tool, server: Web
) -> None:
    """The one receiver has the message and has not answered when ciflow is killed; of the other all is written down."""
    write(tool, f"{server.url}/hang/one", f"{server.url}/other")
    process = tool.start("apply", "play.yml")

    def recorded() -> bool:
        with Store.open(tool.state, read_only=True) as store:
            return any(event.data["sent"] for event in store.events(kinds=("notified",)))

    wait_for(lambda: server.of("/hang/one") and (tool.folder / "log").exists() and recorded(), "both have it")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    server.free.set()
    (tool.folder / "go").touch()
    said = tool.run("resume", timeout=120)
    assert said.code == 0, said.err.decode()
    assert server.events("/other") == ["started", "succeeded"]
    assert sorted(set(server.events("/hang/one"))) == ["started", "succeeded"]
    starts = [one.headers["webhook-id"] for one in server.of("/hang/one") if one.json["on"] == "started"]
    assert len(starts) == 2 and len(set(starts)) == 1
    assert (tool.folder / "log").read_text() == "begun\n"
