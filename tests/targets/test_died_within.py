"""An agent that dies in the middle of what changes files, and journals without room: what is concluded from what is
half there."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ciflow.model import Exec, Link, Write
from ciflow.targets import Connection, agent, upload
from ciflow.targets.told import Ended
from tests.parts.process import wait_for
from tests.parts.tinyfs import fill
from tests.targets.conftest import EVERYWHERE, reach
from tests.targets.parley import Parley, new_token

Talk = Callable[..., Parley]


@pytest.fixture(params=EVERYWHERE)
def connection(request: pytest.FixtureRequest) -> Connection:
    return reach(request.param, request)


def held_up(tmp_path: Path, path: Path) -> Write:
    """Writes a file, and before it takes its place says that it began and waits until the test lets it."""
    check = f"touch {tmp_path}/began; until [ -e {tmp_path}/gate ]; do sleep 0.02; done"
    return Write(path=str(path), content=b"new", validate=("/bin/sh", "-c", check, "%s"))


def test_a_file_that_an_agent_died_in_is_written_once_more_and_nothing_lies_beside_it(
    connection: Connection, talk: Talk, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("old")
    first = talk(connection)
    first.session.submit("web1", "k", held_up(tmp_path, folder / "file"))
    first.session.flush()
    wait_for((tmp_path / "began").exists)
    os.killpg(os.getpgid(first.hello["pid"]), signal.SIGKILL)
    first.next(Ended)
    (tmp_path / "gate").touch()
    assert (folder / "file").read_text() == "old"
    second = talk(connection, run=first.run, token=first.token)
    assert [a.state for a in second.ask("k", journal=first.hello["journal"])] == ["unknown"]
    again = second(held_up(tmp_path, folder / "file"), key="k")
    assert (again.status, again.ok, again.changed) == ("done", True, True), again
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"file": "new"}
    assert second(held_up(tmp_path, folder / "file"), key="k") == again  # from the record, from now on


def test_a_file_written_by_an_agent_that_died_then_is_as_expected_when_it_is_written_once_more(
    connection: Connection, talk: Talk, tmp_path: Path
) -> None:
    """Compare and set: it finds what it has itself set, not what was expected."""
    path = tmp_path / "file"
    first = talk(connection)
    write = replace(held_up(tmp_path, path), expect="absent")
    first.session.submit("web1", "k", write)
    first.session.flush()
    wait_for((tmp_path / "began").exists)
    os.killpg(os.getpgid(first.hello["pid"]), signal.SIGKILL)
    first.next(Ended)
    (tmp_path / "gate").touch()
    path.write_bytes(b"new")  # as if it had got that far
    second = talk(connection, run=first.run, token=first.token)
    assert second(write, key="k").ok
    other = second(replace(write, content=b"newer"), key="other")
    assert (other.status, other.errno) == ("refused", "ESTALE")


def test_a_link_that_an_agent_died_in_is_made_once_more(talk: Talk, tmp_path: Path) -> None:
    """One with Python makes it beside its place first; a shell's `ln` does so itself."""
    host, link = talk(Connection()), tmp_path / "link"
    (tmp_path / "target").write_text("x")
    for key, hard in (("hard", True), ("soft", False)):
        left = tmp_path / f"link.ciflow-{agent.short_hash(key)[:12]}"
        if hard:
            os.link(tmp_path / "target", left)
        else:
            left.symlink_to("elsewhere")
        made = host(Link(path=str(link), target=str(tmp_path / "target"), hard=hard, force=True), key=key)
        assert made.ok and made.changed, made
        assert {path.name for path in tmp_path.iterdir()} == {"link", "target"}


def test_a_new_project_on_a_host_without_room_is_worked_on_without_a_journal(
    talk: Talk, tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else has the project: that it can't be written down is no reason to refuse it."""
    monkeypatch.setenv("HOME", str(tiny_disk))
    talk(Connection())
    fill(tiny_disk)
    newcomer = talk(Connection(), project=f"new-{new_token()}")
    assert "unknown" in newcomer.hello["warning"]
    reply = newcomer(Exec(argv=("echo", "works")))
    assert (reply.status, reply.stdout) == ("done", b"works\n"), reply


@pytest.mark.parametrize("python", ["auto", "none"])
def test_a_run_that_goes_on_after_a_week_is_not_swept_away(own_home: Path, talk: Talk, python: str) -> None:
    """Absent would mean never started: what was under way when it was left would be done again."""
    connection, base = Connection(python=python, connect_timeout=30.0), own_home / ".local/state/ciflow"
    first = talk(connection)
    assert first(Exec(argv=("true",)), key="k").ok
    first.close()
    wait_for(lambda: not agent.birth(first.hello["pid"]), "the end of the first agent, which sweeps")
    [run] = [mark.parent for mark in base.glob("*/*/*/id")]
    other = run.with_name("other")
    other.mkdir()
    for folder in (run, other):
        os.utime(folder, (time.time() - 8 * 86400,) * 2)
    (base / "swept").unlink(missing_ok=True)
    second = talk(connection, run=first.run, token=first.token)
    if python == "none":
        assert time.time() - run.stat().st_mtime < 86400
        return
    wait_for(lambda: not other.exists(), "the sweep")
    [asked] = second.ask("k", journal=first.hello["journal"])
    assert asked.state == "done"
    (run / "id").unlink()  # and if another agent had begun to sweep just before
    assert [a.state for a in second.ask("never", journal=first.hello["journal"])] == ["unknown"]


def test_what_was_left_of_an_upload_that_nobody_went_on_with_is_swept_after_a_week(
    own_home: Path, talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a killed run would fill the disk of a host, in folders that nobody looks into."""
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.write_bytes(os.urandom(8_000_000))
    folder.mkdir()
    first = talk(Connection(connect_timeout=30.0))
    monkeypatch.setattr(upload.Upload, "next", lambda *_: b"")  # the controller is cut off before it sends any of it
    first.session.submit("web1", "up", Write(path=str(folder / "file"), source=str(source)))
    first.session.flush()
    wait_for(lambda: list(folder.iterdir()), "the beginning of the file")
    first.close()
    wait_for(lambda: not agent.birth(first.hello["pid"]), "the end of the first agent: a run is not swept before")
    [run] = [mark.parent for mark in own_home.glob(".local/state/ciflow/*/*/*/id")]
    week_ago = time.time() - 8 * 86400
    os.utime(run, (week_ago, week_ago))
    (own_home / ".local/state/ciflow/swept").unlink(missing_ok=True)
    talk(Connection(connect_timeout=30.0))
    wait_for(lambda: not run.exists(), "the sweep")
    assert list(folder.iterdir()) == []
