"""What several routers are asked at once, by real agents on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ciflow.diagnostics import TargetError
from ciflow.engine.drive import Driver, nothing_before, refuse_render, sleep_only
from ciflow.engine.keys import Key, new_run
from ciflow.engine.reached import LOCAL
from ciflow.engine.record import Recorder
from ciflow.engine.wire import Wire
from ciflow.model import At, Change, Event, Exec
from ciflow.rollout.abreast import abreast
from ciflow.rollout.routers.dial import Asked
from ciflow.targets.api import open_session

HOSTS = {name: replace(LOCAL, name=name) for name in ("web1", "web2", "web3")}
PATIENCE = 60.0  # seconds


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, events: Sequence[Event]) -> int:
        self.events.extend(events)
        return len(self.events)


def asked(steps: Asked[Any], journal: Kept, run: str, past: Sequence[Event] = ()) -> Any:
    recorder = Recorder(run, journal)
    recorder.remember(past)

    async def go() -> Any:
        def opener(connection: Any, inbox: Any) -> Any:
            return open_session(connection, project=f"abreast {run}", run=run, token=1, inbox=inbox)

        wire = Wire(recorder, opener, cap=10)
        driver = Driver(
            wire=wire, key=Key(run, "roll", "", ()), connection=LOCAL, lane="roll", controller=LOCAL,
            place_of=HOSTS.__getitem__, render=refuse_render, hold=sleep_only, reached=nothing_before,
        )  # fmt: skip
        try:
            return await driver.drive(steps)
        finally:
            recorder.commit()
            wire.close(ended=True)

    return asyncio.run(go())


def shell(host: str, text: str) -> Asked[str]:
    reply = yield At(host, Change(Exec(shell=text, timeout=PATIENCE)))
    if not reply.ok:
        raise TargetError(f"{host}: exit code {reply.rc}")
    return reply.stdout.decode().strip()


def test_no_host_waits_for_another(tmp_path: Path) -> None:
    """Each goes on when all three have come: one after the other they would wait for ever."""
    meet = f"touch {tmp_path}/$$; while [ $(ls {tmp_path} | wc -l) -lt 3 ]; do sleep 0.02; done; echo met"
    parts = [shell(host, meet) for host in HOSTS]
    assert asked(abreast(parts), Kept(), new_run(0)) == ["met"] * 3


def test_one_that_fails_is_told_by_its_place_and_ends_no_other() -> None:
    parts = [shell("web1", "echo one"), shell("web2", "exit 3"), shell("web3", "echo three")]
    first, second, third = asked(abreast(parts), Kept(), new_run(0))
    assert (first, third) == ("one", "three")
    assert isinstance(second, TargetError) and "exit code 3" in second.message


def test_after_a_kill_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    """The record ends after the first and the third: only the second is sent."""

    def parts() -> Asked[Any]:
        return abreast([shell(host, f"echo {host} >> {tmp_path}/ran; echo {host}") for host in HOSTS])

    journal, run = Kept(), new_run(0)
    said = asked(parts(), journal, run)
    assert said == list(HOSTS) and sorted((tmp_path / "ran").read_text().split()) == list(HOSTS)
    of_second = {e.key for e in journal.events if e.kind == "op_reply" and e.data["reply"].get("stdout") == "web2\n"}
    past = [event for event in journal.events if event.key not in of_second]
    (tmp_path / "ran").write_text("")
    assert asked(parts(), Kept(), run, past) == said
    assert len(of_second) == 1 and (tmp_path / "ran").read_text() == "web2\n"
