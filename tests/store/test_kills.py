"""A real process is killed, or its disk is full, at each of its writes: the old state or the new, never neither."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ciflow.store.store import Store
from tests.store.test_damage import TRANSACTIONS, closed_store, look, transaction


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return closed_store(tmp_path / "closed")


WRITER = """
import sys
import time
from pathlib import Path
from ciflow.model import Event
from ciflow.store.store import Store
from ciflow.diagnostics import StoreError
try:
    with Store.open(Path(sys.argv[1])) as store:
        for n in map(int, sys.argv[2:]):
            store.append([Event(kind="output", run="R-0", data={"n": n, "text": "x" * 90}) for _ in range(3)])
            print(n, flush=True)
except StoreError as e:
    print("StoreError", e, flush=True)
    sys.exit(9)
"""
ROOT = Path(__file__).parents[2]


def traced(path: Path, fault: str, *numbers: int) -> tuple[int, list[str]]:
    """Run the writer under strace's fault injection; (exit code, lines said)."""
    argv = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", f"inject=pwrite64:{fault}"]
    argv += [sys.executable, "-S", "-c", WRITER, str(path), *map(str, numbers)]
    env = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def needs_strace() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed: its fault injection kills at the nth write")


def acknowledged(said: list[str]) -> int:
    return sum(word.isdigit() for word in said)


@pytest.mark.fault(5)
def test_kill_9_at_each_write_of_a_transaction_leaves_the_old_state_or_the_new(closed: Path, tmp_path: Path) -> None:
    needs_strace()
    old = look(closed)[0]["all"]
    point, code = 0, -9
    while code:
        point += 1
        path = shutil.copytree(closed, tmp_path / str(point))
        code, said = traced(path, f"signal=SIGKILL:when={point}", 100)
        with Store.open(path, read_only=True) as store:
            events = list(store.events())
            store.check()
        assert events[: len(old)] == old
        assert len(events) - len(old) in ({3} if said else {0, 3}), point
    print(f"killed at {point - 1} writes")
    assert point > 10


@pytest.mark.fault(5)
def test_kill_9_at_each_write_of_the_first_start_leaves_none_or_a_good_one(tmp_path: Path) -> None:
    needs_strace()
    point, code = 0, -9
    while code:
        point += 1
        path = tmp_path / str(point)
        code, _ = traced(path, f"signal=SIGKILL:when={point}")
        with Store.open(path) as store:
            store.append(transaction(1))
            store.check()
    print(f"killed at {point - 1} writes")
    assert point > 10


@pytest.mark.fault(12)
def test_a_disk_full_at_the_nth_write_is_said_and_nothing_acknowledged_is_lost(closed: Path, tmp_path: Path) -> None:
    needs_strace()
    for point in range(1, 40, 3):
        path = shutil.copytree(closed, tmp_path / str(point))
        code, said = traced(path, f"error=ENOSPC:when={point}+", 100, 101)
        if code == 9:
            assert "StoreError no space left for the journal" in said[-1], said
        with Store.open(path) as store:
            store.check()
            assert len(list(store.events())) >= 3 * (TRANSACTIONS + acknowledged(said))
        if code == 0:
            break
    assert point > 4


@pytest.mark.fault(5)
def test_kill_9_at_any_moment_of_a_long_run_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Long enough to fold the log back into the file several times; moments by a fixed seed."""
    draw, path, known = random.Random(6), tmp_path / "store", 0
    for number in range(8):
        argv = [
            sys.executable,
            "-S",
            "-c",
            WRITER,
            str(path),
            *map(str, range(number * 10_000, number * 10_000 + 9000)),
        ]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}) as writer:
            assert writer.stdout
            writer.stdout.readline()
            time.sleep(draw.uniform(0, 0.5))
            writer.kill()
            known += 3 * (1 + len(writer.stdout.read().splitlines()))
        with Store.open(path) as store:
            events = list(store.events())
            store.check()
        assert len(events) - known in (0, 3)
        assert [e.data["n"] for e in events[::3]] == [e.data["n"] for e in events[2::3]]
        known = len(events)
    print(f"{known} events over eight kills")
