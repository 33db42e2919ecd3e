"""Torn, flipped, full: the old state or the new, never neither, and never a wrong one."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ciflow.diagnostics import StoreError
from ciflow.model import Event
from ciflow.store.database import NAME, PAGE
from ciflow.store.locks import Holder
from ciflow.store.store import Store

FRAME = PAGE + 24
TRANSACTIONS = 12
KINDS = ("output", "task_ended", "dial")


def transaction(n: int) -> list[Event]:
    """Three events, of two runs."""
    return [
        Event(kind=KINDS[i], run=f"R-{(n + i) % 2}", at=1.0 + n, host=f"web{i}", data={"n": n, "text": "x" * 90})
        for i in range(3)
    ]


def picture(store: Store) -> dict[str, Any]:
    """All that a reader can see, by every way of reading."""
    runs = store.runs()
    return {
        "runs": runs,
        "all": list(store.events()),
        "by run": [list(store.events(run=run)) for run in runs],
        "by kind": [list(store.events(kinds=(kind,))) for kind in KINDS],
        "locks": store.locks.all(),
    }


def look(path: Path) -> tuple[dict[str, Any], str]:
    """Read only: a closing writer syncs the disk, which would make a thousand looks slow."""
    with Store.open(path, read_only=True) as store:
        return picture(store), store.torn


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return closed_store(tmp_path_factory.mktemp("closed") / "store")


def closed_store(path: Path) -> Path:
    """A store that was closed in order: all is in the file, no log is left."""
    with Store.open(path) as store:
        for n in range(TRANSACTIONS):
            store.append(transaction(n))
        for scope in ("shield", "project"):
            store.locks.acquire(scope, Holder("R-0", "ada", "ciflow apply", "ci", "elsewhere", 7, "1"))
    assert not (path / f"{NAME}-wal").exists()
    return path


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], list[int]]:
    """A store as kill -9 leaves it, what could be seen after each transaction, and how long the log was then."""
    base = tmp_path_factory.mktemp("killed")
    pictures, lengths = [], []
    with Store.open(base / "live") as store:
        for n in range(TRANSACTIONS):
            store.append(transaction(n))
            pictures.append(picture(store))
            lengths.append((base / "live" / f"{NAME}-wal").stat().st_size)
        shutil.copytree(base / "live", base / "store")
    (base / "store" / f"{NAME}-shm").unlink()
    return base / "store", pictures, lengths


def changed(path: Path, into: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    shutil.rmtree(into, ignore_errors=True)
    shutil.copytree(path, into)
    content = (into / name).read_bytes()
    (into / name).unlink()  # ext4 would sync a file that is cut to nothing and written again
    (into / name).write_bytes(change(content))
    return into


def cut_at(end: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:end]


def flip(at: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :]


@pytest.mark.fault(6)
def test_a_flipped_bit_is_refused_or_harmless_never_believed(closed: Path, tmp_path: Path) -> None:
    whole, _ = look(shutil.copytree(closed, tmp_path / "whole"))
    size = (closed / NAME).stat().st_size
    draw = random.Random(4)
    places = [(at, at % 8) for at in range(100)]  # the file's header, byte by byte
    places += [(page + at, draw.randrange(8)) for page in range(0, size, PAGE) for at in range(24)]  # page headers
    places += [(draw.randrange(size), draw.randrange(8)) for _ in range(500)]
    refused = 0
    for at, bit in places:
        path = changed(closed, tmp_path / "flipped", NAME, flip(at, bit))
        try:
            seen, _ = look(path)
        except StoreError as e:
            refused += 1
            assert e.help or "read-only" in e.message, e.message
        else:
            assert seen == whole, (at, bit)
    print(f"{len(places)} bits flipped, {refused} refused")
    assert refused > len(places) // 4


@pytest.mark.fault(6)
def test_a_journal_cut_at_a_page_is_refused_with_the_way_out(closed: Path, tmp_path: Path) -> None:
    size = (closed / NAME).stat().st_size
    for end in [*range(0, size, PAGE), size - 1]:
        path = changed(closed, tmp_path / "cut", NAME, cut_at(end))
        with pytest.raises(StoreError, match="is damaged") as refusal:
            look(path)
        assert "move it aside" in refusal.value.help


@pytest.mark.fault(6)
def test_a_log_cut_anywhere_shows_the_last_whole_transaction(
    killed: tuple[Path, list[dict[str, Any]], list[int]], tmp_path: Path
) -> None:
    path, pictures, lengths = killed
    empty: dict[str, Any] = {"runs": [], "all": [], "by run": [], "by kind": [[], [], []], "locks": []}
    ends = [end + by for end in range(32, lengths[-1], FRAME) for by in (0, 11, 24, 1000)]
    for end in ends:
        whole = sum(length <= end for length in lengths)
        seen, torn = look(changed(path, tmp_path / "cut", f"{NAME}-wal", cut_at(end)))
        assert seen == (pictures[whole - 1] if whole else empty), end
        assert bool(torn) == bool((end - 32) % FRAME), end


@pytest.mark.fault(6)
def test_a_flipped_bit_in_the_log_loses_the_last_transaction_at_most_and_says_so(
    killed: tuple[Path, list[dict[str, Any]], list[int]], tmp_path: Path
) -> None:
    path, pictures, lengths = killed
    draw = random.Random(5)
    outcomes = {"refused": 0, "cut": 0}
    places = [draw.randrange(lengths[-1]) for _ in range(150)]
    places += [draw.randrange(lengths[-2], lengths[-1]) for _ in range(100)]
    for at in places:
        bit = draw.randrange(8)
        try:
            seen, torn = look(changed(path, tmp_path / "flipped", f"{NAME}-wal", flip(at, bit)))
        except StoreError as e:
            outcomes["refused"] += 1
            assert "log" in e.message and at < lengths[-2] + FRAME * 10
            continue
        outcomes["cut"] += bool(torn)
        assert seen == pictures[-1] or (seen == pictures[-2] and torn and at >= lengths[-2]), (at, bit)
    print(outcomes)
    assert outcomes["refused"] > 100 and outcomes["cut"] > 10


def test_after_a_power_cut_the_log_is_cut_at_its_first_hole(
    killed: tuple[Path, list[dict[str, Any]], list[int]], tmp_path: Path
) -> None:
    path, pictures, lengths = killed
    for at in (0, 4, TRANSACTIONS - 2):
        begin = lengths[at] + 24

        def hole(content: bytes, begin: int = begin) -> bytes:
            return content[:begin] + bytes(PAGE) + content[begin + PAGE :]

        cut = changed(path, tmp_path / "hole", f"{NAME}-wal", hole)
        with pytest.raises(StoreError, match="whole ones lie behind"):
            look(cut)
        (cut / "open.lock").write_text("00000000-0000-0000-0000-000000000000")
        seen, torn = look(cut)
        assert seen == pictures[at]
        assert "cut there" in torn


def test_after_a_torn_end_was_cut_work_goes_on(
    killed: tuple[Path, list[dict[str, Any]], list[int]], tmp_path: Path
) -> None:
    path, pictures, lengths = killed
    cut = changed(path, tmp_path / "cut", f"{NAME}-wal", lambda content: content[: lengths[-1] - 5])
    with Store.open(cut) as store:
        assert "torn end" in store.torn and "cut there" in store.torn
        store.append(transaction(99))
    seen, torn = look(cut)
    assert not torn
    assert seen["all"][:-3] == pictures[-2]["all"]
    assert [e.data["n"] for e in seen["all"][-3:]] == [99, 99, 99]


def test_a_full_disk_stops_in_plain_words_and_goes_on_when_there_is_space(tiny_disk: Path) -> None:
    with Store.open(tiny_disk / "store") as store:
        written = 0
        filler = tiny_disk / "filler"
        filler.write_bytes(b"x" * 60_000)
        with pytest.raises(StoreError, match="no space left for the journal") as refusal:
            while written < 1000:
                store.append(transaction(written))
                written += 1
        assert "df" in refusal.value.help
        with pytest.raises(StoreError, match="No space left"):
            store.blobs.put(random.Random(1).randbytes(200_000))
        assert len(list(store.events())) == 3 * written > 0
        filler.unlink()
        store.append(transaction(written))
    seen, torn = look(tiny_disk / "store")
    assert len(seen["all"]) == 3 * (written + 1)
    assert not torn
    assert not list((tiny_disk / "store" / "blobs").rglob(".new-*"))


def test_a_read_only_disk_is_said_and_can_still_be_read(tiny_disk: Path, closed: Path) -> None:
    path = shutil.copytree(closed, tiny_disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with Store.open(path, read_only=True) as store:
        assert len(list(store.events())) == 3 * TRANSACTIONS
    with pytest.raises(StoreError, match=r"[Rr]ead-only"):
        Store.open(path)
