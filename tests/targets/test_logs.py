"""The host's journal itself, with the agents of a run side by side in one process, and cut at any write."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ciflow.targets import agent
from tests.parts.process import wait_for

OP = {"op": "exec", "argv": ["true"]}
DONE = {"ok": True, "rc": 0}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def begun(token: int = 1) -> agent.Journal:
    """The journal as another agent of the same run has it."""
    journal = agent.Journal()
    assert journal.begin("shop", "run", token)[0] and journal.run_folder
    return journal


def started(journal: agent.Journal, key: str = "k", again: bool = False) -> agent.Record:
    record = journal.start(key, OP, again)
    assert record is not None
    return record


def died(journal: agent.Journal) -> None:
    """As with kill -9: the locks of its files are gone."""
    assert journal.own is not None
    os.close(journal.own.fd)
    journal.own = None


def full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def state(journal: agent.Journal, key: str = "k") -> str:
    return journal.look(key, journal.identity)[0]


def test_what_one_agent_starts_the_others_know_at_once() -> None:
    first, second = begun(), begun()
    record = started(first)
    assert (state(first), state(second), state(second, "other")) == ("running", "running", "absent")
    with pytest.raises(FileExistsError):
        second.start("k", OP)
    record.end(DONE)
    assert first.look("k", first.identity)[:2] == second.look("k", second.identity)[:2] == ("done", DONE)


@pytest.mark.parametrize("length", [0, 4_000, *range(4_005, 4_035), 4_096, 8_192, 100_000])
def test_an_end_of_any_length_is_read_as_it_was_written(length: int) -> None:
    """Around the size of a slot in all lengths."""
    journal = begun()
    reply = {"ok": True, "stdout": "x" * length}
    before, record, after = started(journal, "before"), started(journal), started(journal, "after")
    for one in (after, record, before):
        one.end(reply)
    assert [begun().look(key, "")[1] for key in ("before", "k", "after")] == [reply] * 3


def test_an_end_that_finds_no_room_is_kept_short(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun()
    record = started(journal)
    with monkeypatch.context() as disk:
        disk.setattr(agent, "write_all", full)
        record.end({"ok": False, "rc": 3, "error": "\U0001f600" * 10_000, "stdout": "x" * 10_000})
    found, reply, _ = begun().look("k", "")
    assert found == "done" and reply is not None
    assert (reply["rc"], reply["truncated"]) == (3, True) and reply["error"].startswith("\U0001f600")


def test_an_end_that_can_not_be_written_at_all_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun()
    record = started(journal)
    with monkeypatch.context() as disk:
        disk.setattr(agent.os, "pwrite", full)
        record.end(DONE)
    assert state(journal) == "running"
    died(journal)
    assert state(begun()) == "unknown", "nobody can say how it ended"


def test_a_start_that_finds_no_room_leaves_nothing_and_makes_absent_mean_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = begun(), begun()
    started(first, "before").end(DONE)
    with monkeypatch.context() as disk:
        disk.setattr(agent.os, "pwrite", full)
        assert first.start("k", OP) is None
    assert "unknown" in first.warning
    assert (state(first), state(second)) == ("unknown", "unknown")
    assert state(second, "before") == "done"
    assert state(begun()) == "absent" and begun().identity != second.identity, "a new mark is another journal"
    assert state(second) == "unknown", "its own mark is gone"


def test_a_kill_between_any_two_writes_of_a_start_leaves_absent_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Absent only where it did not begin: a record is what an operation begins with."""
    whole, writes = os.pwrite, 0

    class Killed(BaseException):
        pass

    def cut(fd: int, data: bytes, at: int) -> int:
        nonlocal writes
        if writes == 0:
            whole(fd, data[: len(data) // 2], at)
            raise Killed
        writes -= 1
        return whole(fd, data, at)

    for number in range(2):
        writes = number
        journal = begun()
        started(journal, f"before {number}").end(DONE)
        with monkeypatch.context() as patch:
            patch.setattr(agent.os, "pwrite", cut)
            with pytest.raises(Killed):
                journal.start(f"k{number}", OP)
        died(journal)
        other = begun()
        assert state(other, f"k{number}") == "absent"
        assert state(other, f"before {number}") == "done"
        started(other, f"k{number}").end(DONE)
        assert state(begun(), f"k{number}") == "done"


def test_what_an_agent_died_in_is_done_again_only_when_asked_and_by_one() -> None:
    first, second, third = begun(), begun(), begun()
    started(first)
    with pytest.raises(FileExistsError):
        second.start("k", OP, again=True)
    died(first)
    with pytest.raises(FileExistsError):
        second.start("k", OP)
    started(second, again=True)
    with pytest.raises(FileExistsError):
        third.start("k", OP, again=True)
    assert state(third) == "running"


def test_a_kill_while_it_is_taken_up_again_does_not_make_it_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = begun(), begun()
    started(first)
    died(first)
    with monkeypatch.context() as patch:
        patch.setattr(agent.Log, "take_back", full)
        with pytest.raises(OSError, match="No space"):
            second.start("k", OP, again=True)
    died(second)
    assert state(begun()) == "unknown"


def test_an_agent_without_a_journal_never_repeats_what_another_is_at() -> None:
    first, second = begun(), begun()
    started(first)
    second.give_up(OSError(errno.ENOSPC, "full"))
    lane = agent.Lane(SimpleNamespace(journal=second))
    job = agent.Work("k", {"op": "write", "path": "/nowhere"}, "", 0.1)
    assert lane._again(job.op, job)["status"] == "unknown"


def test_a_log_that_can_not_be_read_makes_nobody_start_anything() -> None:
    first, second = begun(), begun()
    started(first).end(DONE)
    (Path(second.run_folder) / "1-broken.log").mkdir()
    with pytest.raises(IsADirectoryError):
        second.start("k", OP)
    assert state(second) == "unknown"
    assert second.start("other", OP) is not None, "what nobody has started needs no log of others"


def test_a_run_is_not_swept_while_an_agent_of_it_lives(home: Path) -> None:
    first, second = begun(), begun()
    record = started(first)
    swept = home / ".local/state/ciflow/swept"
    folder = Path(first.run_folder)

    def sweep() -> None:
        swept.unlink(missing_ok=True)
        os.utime(folder, (0, 0))
        second.sweep()

    sweep()
    record.end(DONE)
    assert state(first) == "done"
    died(first)
    sweep()
    assert not folder.exists()


def test_nothing_is_left_of_what_is_forgotten_and_all_of_the_rest() -> None:
    first, second = begun(), begun()
    secret = {"ok": True, "stdout": "hush-hush" * 1_000}
    for journal, key in ((first, "a"), (first, "b"), (second, "c")):
        started(journal, key).end(secret)
    died(first)
    second.forget(["a", "c"])
    assert [state(second, key) for key in "abc"] == ["absent", "done", "absent"]
    second.forget(["b"])
    left = [path for path in Path(second.run_folder).iterdir() if path.name not in ("id", "list")]
    assert left == []
    started(second, "d").end(DONE)
    assert state(begun(), "d") == "done"


@pytest.mark.parametrize("ends", [True, False])
def test_who_waits_hears_the_end_or_that_there_will_be_none(ends: bool) -> None:
    first, second = begun(), begun()
    record = started(first)
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(second.wait("k")))
    waiting.start()
    if ends:
        record.end(DONE)
    else:
        died(first)
    assert wait_for(lambda: answers) == [("done", DONE) if ends else ("unknown", None)]
