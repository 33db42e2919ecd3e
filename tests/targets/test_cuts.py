"""A pipe that breaks at every boundary of a session's frames, and inside each frame: nothing is lost or repeated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ciflow.diagnostics import Lost
from ciflow.targets import TARGETS, Connection, Pipe, wire
from ciflow.targets.launch import packed_agent
from tests.targets.conftest import reach
from tests.targets.parley import new_token
from tests.targets.test_journal import STEPS, converge

FAR = ("docker", "kubernetes")
FEW = 10  # cuts tried of them
INSIDE = (0, 5, 40)  # bytes of the next frame that still pass: none, half of its head, all of it and some content


def cut_point(stream: bytes, frames: int, extra: int) -> float:
    """Where `frames` frames and `extra` bytes of the next end in the stream; infinity while that is not known."""
    at = 0
    for _ in range(frames):
        if len(stream) < at + wire.HEAD.size:
            return math.inf
        at += wire.HEAD.size + wire.HEAD.unpack_from(stream, at)[0]
    return at + extra


@dataclass
class Cut:
    """One cut, of the first connection that comes so far: after so many frames and bytes, toward host or controller."""

    toward: str
    frames: int
    extra: int
    done: bool = False
    counted: dict[str, int] = field(default_factory=lambda: {"host": 0, "controller": 0})


class Breaking:
    """A local pipe with a cut in it."""

    def __init__(self, inner: Pipe, cut: Cut) -> None:
        self.inner, self.cut = inner, cut
        self.streams = {"host": b"", "controller": b""}

    def _passes(self, toward: str, data: bytes) -> bytes:
        """How much of `data` gets through; less than all of it breaks the pipe."""
        before = len(self.streams[toward])
        self.streams[toward] += data
        whole = self.streams[toward]
        head = len(packed_agent()) if toward == "host" else whole.find(b"-hello\n") + len(b"-hello\n")
        self.cut.counted[toward] = max(self.cut.counted[toward], sum(1 for _ in wire.Decoder().feed(whole[head:])))
        if self.cut.done or self.cut.toward != toward:
            return data
        point = cut_point(whole[head:], self.cut.frames, self.cut.extra) + head
        if len(whole) < point:
            return data
        self.cut.done = True
        return data[: int(point) - before]

    def send(self, data: bytes) -> None:
        passing = self._passes("host", data)
        self.inner.send(passing)
        if len(passing) < len(data):
            self.inner.close()
            raise Lost("cut")

    def receive(self, timeout: float) -> bytes | None:
        data = self.inner.receive(timeout)
        if not data:
            return data
        passing = self._passes("controller", data)
        if len(passing) < len(data):
            self.inner.close()
        return passing

    def close(self) -> None:
        self.inner.close()


def run_with(cut: Cut, connection: Connection, folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir()

    def opener(connection: Connection, command: str) -> Pipe:
        return Breaking(TARGETS[connection.kind](connection, command), cut)

    targets: Mapping[str, object] = {connection.kind: opener}
    patch.setattr("ciflow.targets.session.TARGETS", targets)
    token = new_token()
    replies = converge(connection, f"cut-{token}", token, folder)
    assert [(r.status, r.rc, len(r.stdout)) for r in replies] == [("done", 0, 20000)] * STEPS, cut
    assert (folder / "log").read_text().split() == [str(number) for number in range(STEPS)], cut


@pytest.mark.parametrize("kind", ["local", *(pytest.param(kind, marks=pytest.mark.slow) for kind in FAR)])
def test_a_pipe_cut_at_and_in_every_frame_loses_and_repeats_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """On those where each takes a second, a few of the places."""
    connection = reach(kind, request)
    whole = Cut("nowhere", 0, 0)
    run_with(whole, connection, tmp_path / "whole", monkeypatch)
    assert whole.counted["host"] >= 2 + STEPS
    assert whole.counted["controller"] >= 3 + 2 * STEPS
    cuts = [
        Cut(toward, number, extra)
        for toward, frames in whole.counted.items()
        for number in range(frames)
        for extra in INSIDE
    ]
    tried = cuts if kind == "local" else cuts[:: len(cuts) // FEW]
    for cut in tried:
        run_with(cut, connection, tmp_path / f"{cut.toward}-{cut.frames}-{cut.extra}", monkeypatch)
    done = sum(cut.done for cut in tried)
    print(f"{done} of {len(cuts)} cuts tried")
    assert done >= (2 * (3 + 2 * STEPS) if kind == "local" else 1)
