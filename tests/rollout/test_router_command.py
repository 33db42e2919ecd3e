"""What only a router of two commands does: whatever a command says or doesn't, there is a clear word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ciflow.diagnostics import Refused
from ciflow.rollout.routers import Dial, Manifest, Router, RouterError, Slot, build, interval
from tests.parts.process import wait_for
from tests.rollout.host import AgentHost
from tests.rollout.rig import SERVICE

SLOTS = {"a": {"port": 8081}, "b": {"port": 8082}}
COUNTS = '{"identity": "7", "a": {"requests": 9, "bad": 1}, "b": {"requests": 5, "bad": 2, "slower": {"0.25": 1}}}'


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentHost]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with AgentHost() as host:
        yield host


def router(tmp_path: Path, **more: object) -> Router:
    """A router whose share is a line in a file."""
    share = tmp_path / "share"
    settings = {"set": f'echo "$CIFLOW_SHARE" > {share}', "read": f"cat {share}", "dir": f"{tmp_path}/dial", **more}
    (made,) = build("command", settings, SERVICE, SLOTS, ("localhost",), edges=())
    return made


FIRST = Dial(0, 0, "a", Manifest(SERVICE, slots=(Slot("a"), Slot("b"))))


def test_set_is_told_the_share_what_a_restart_must_have_and_which_slot_is_live(host: AgentHost, tmp_path: Path) -> None:
    told = tmp_path / "told"
    say = "$CIFLOW_SERVICE $CIFLOW_SHARE $CIFLOW_SAFE $CIFLOW_LIVE $KEY"
    mine = router(tmp_path, set=f'echo "{say}" >> {told}; echo $CIFLOW_SHARE > {tmp_path}/share', env={"KEY": "x"})
    now = host.drive(mine.prepare(FIRST))
    host.drive(mine.turn(replace(now, share=10_000, live="b", token=1), 0))
    assert told.read_text().splitlines() == ["shield 0 0 a x", "shield 100 100 b x"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"set": "exit 3"}, r"making the router of your commands take .*dial on localhost: .*3"),
        ({"set": "echo 'no right to' >&2; exit 1"}, "no right to"),
        ({"set": "/nowhere/set"}, "/nowhere/set"),
        ({"set": "sleep 60", "timeout": 0.2}, "still running after"),
        ({"read": "echo soon"}, "`read` of router command on localhost printed 'soon', which is no share"),
        ({"read": "echo 101"}, "printed '101', which is no share"),
        ({"read": "/nowhere/read"}, r"asking by `read` of router command \(/nowhere/read\) on localhost"),
        ({"counts": "echo 5"}, "`counts` of router command on localhost printed '5"),
        ({"counts": 'echo \'{"a": {"requests": 1}, "b": {}}\''}, "KeyError.*bad"),
        ({"counts": 'echo \'{"a": {"requests": 1, "bad": 0, "bads": 1}}\''}, "no counter is called bads"),
    ],
)
def test_a_command_that_fails_is_named_with_what_it_said(
    host: AgentHost, tmp_path: Path, more: dict[str, object], why: str
) -> None:
    with pytest.raises(RouterError, match=re.compile(why, re.DOTALL)):
        host.drive(router(tmp_path, **more).prepare(FIRST))


def test_a_router_that_does_not_do_what_it_is_told_is_an_error(host: AgentHost, tmp_path: Path) -> None:
    (tmp_path / "share").write_text("0\n")
    mine = router(tmp_path, set="true")
    now = host.drive(mine.prepare(FIRST))
    with pytest.raises(RouterError, match=r"did not take share 100 % within .*: it still has 0 %"):
        host.drive(mine.turn(replace(now, share=10_000, live="b", token=1), 0))


def test_counts_come_from_a_command_and_nothing_is_counted_without(host: AgentHost, tmp_path: Path) -> None:
    blind, seeing = router(tmp_path), router(tmp_path, counts=f"echo '{COUNTS}'")
    host.drive(blind.prepare(FIRST))
    assert (blind.counted, seeing.counted) == (False, True)
    nothing = host.drive(blind.counts())
    assert interval(nothing, nothing) is not None and nothing.slots["a"].requests == 0
    assert blind.errors("b", 50) == ()
    sample = host.drive(seeing.counts())
    assert (sample.identity, sample.slots["b"].requests, sample.slots["b"].bad) == ("7", 5, 2)
    (watch,) = seeing.errors("b", 50, sample)
    found = re.search(watch.pattern, host.answer(watch.read).stdout.decode())
    assert found is not None and (found[1], watch.limit) == ("2", 52)


def test_set_waits_for_another_one_that_is_under_way(host: AgentHost, tmp_path: Path) -> None:
    """A rollback that comes while an old controller's `set` still works is the last to set."""
    share = tmp_path / "share"
    slow = f'[ "$CIFLOW_SHARE" = 0 ] || {{ touch {tmp_path}/began; sleep 0.6; }}; echo "$CIFLOW_SHARE" > {share}'
    mine = router(tmp_path, set=slow)
    now = host.drive(mine.prepare(FIRST))
    old = mine.turn(replace(now, share=10_000, live="b", token=1), 0)
    step = next(old)
    while "CIFLOW_SHARE" not in str(step):
        step = old.send(host.answer(step.step.operation))  # type: ignore[union-attr]
    import threading

    late = threading.Thread(target=lambda: host.answer(step.step.operation))  # type: ignore[union-attr]
    late.start()
    wait_for((tmp_path / "began").exists)
    seen = host.drive(mine.read())
    host.drive(mine.turn(replace(seen, share=0, live="a", token=seen.token + 1), seen.token))
    late.join()
    assert share.read_text() == "0\n"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"set": "x"}, "router command needs read"),
        ({"set": "x", "read": "y", "header": {"name": "X", "value": "1"}}, "router command has no setting header"),
        ({"set": "x", "read": "y", "env": "A=1"}, "env of router command must be a mapping"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why):
        build("command", settings, SERVICE, SLOTS, ("localhost",))


def test_sticky_users_are_refused_with_the_routers_that_have_them() -> None:
    with pytest.raises(Refused, match="by: cookie is not built for the router command") as refused:
        build("command", {"set": "x", "read": "y"}, SERVICE, SLOTS, ("localhost",), by="cookie")
    assert "haproxy, envoy or nginx" in refused.value.help
