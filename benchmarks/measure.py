"""Wall time, CPU time and peak memory of one program with all that it starts."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts.process import descendants

SAMPLE_S = 0.25
ALONE = Path(__file__).with_name("alone.py")


class Failed(Exception):
    """A measured program did not do its work; the text ends with what it said."""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and CPU time, and the peak of memory in MB (10^6 bytes)."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def proportional_mb(pid: int) -> float:
    """Memory of a process, pages shared with others counted by share (PSS), in MB; 0 when it has gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class Sampler(threading.Thread):
    """Peak of the memory of all below a process, looked at every SAMPLE_S seconds."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_mb = 0.0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(SAMPLE_S):
            self.peak_mb = max(self.peak_mb, sum(map(proportional_mb, descendants(self.pid))))


def end_by_sigterm() -> None:
    """SIGTERM unwinds a bench like Ctrl-C does: servers and what is measured end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def measure(
    argv: Sequence[str], env: Mapping[str, str], folder: Path, whole_tree: bool = False, timeout_s: float = 600.0
) -> Cost:
    """Run a program to its end. CPU is that of the program and all it waited for (alone.py).

    The peak is that of its largest process, or, with `whole_tree`, the sampled sum over the tree: sampling costs
    a few per cent of a core, so it is used only where memory is what is asked for. Raises Failed.
    """
    log, report = folder / "output.log", folder / "cost"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-IS", ALONE, report, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **env},
            start_new_session=True,
        )
        sampler = Sampler(process.pid) if whole_tree else None
        if sampler:
            sampler.start()
        limit = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        limit.daemon = True  # else a bench that is ended just here waits for it
        try:
            limit.start()
            process.wait()
        finally:
            limit.cancel()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a bench that is ended leaves nothing behind
    if process.returncode != 0:
        said = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise Failed(f"{' '.join(argv)} ended with {process.returncode}:\n{said}")
    wall_s, cpu_s, peak_kib = map(float, report.read_text().split())
    peak_mb = peak_kib * 1024 / 1e6
    if sampler:
        sampler.done.set()
        sampler.join()
        peak_mb = max(peak_mb, sampler.peak_mb)
    return Cost(wall_s, cpu_s, peak_mb)
