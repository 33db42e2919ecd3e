"""Real programs under test: each in a session of its own, waited for until ready, ended by its own process ids."""

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")  # before a test takes another home
BUILT = CACHE / "ciflow" / "parts"  # where `make parts` puts what it builds


class MissingPart(Exception):
    """A program that this machine lacks; the text says which, and what brings it."""


class NotReady(Exception):
    """A program ended or stayed silent before it was ready; the text ends with the last lines it said."""


@dataclass(frozen=True)
class Running:
    """A started program: its process id (also that of its group and session) and where its output goes."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def find(program: str, part: str) -> str:
    """Path of a program: beside this Python, where `make parts` builds, on the PATH, or where Debian keeps daemons."""
    built = sorted(map(str, BUILT.glob(f"{part}-*[0-9]")), reverse=True)
    places = (str(Path(sys.executable).parent), *built, os.environ.get("PATH", ""), "/usr/sbin", "/sbin")
    found = shutil.which(program, path=os.pathsep.join(places))
    if found is None:
        raise MissingPart(f"{part} is not installed: make parts")
    return found


# Below what Linux gives to whoever asks for any port (32768 on), Kubernetes to its services (30000 on), and ciflow to
# servers of sccache, by a number made of their names (20000 on): one that finds its port taken is no cache.
PORTS = range(11_000, 20_000)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on, which neither another test process gets nor the kernel gives to a client.

    One that the kernel picks may be gone again before whoever asked listens there. So all test processes of this
    user take turns, from a number that they share.
    """
    with Path(f"/tmp/cf-ports-{os.geteuid()}").open("a+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        turn.seek(0)
        last = int(turn.read() or 0)
        for number in range(last + 1, last + 1 + len(PORTS)):
            port = PORTS[number % len(PORTS)]
            if _is_free(address, port):
                turn.truncate(0)
                turn.write(str(number))
                return port
    raise OSError(errno.EADDRINUSE, f"every port from {PORTS[0]} to {PORTS[-1]} of {address} is in use")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, port))
        except OSError as taken:
            if taken.errno != errno.EADDRINUSE:
                raise
            return False
        return True


def answers(address: str, port: int) -> bool:
    """Whether something accepts TCP connections there."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def short_folder(name: str) -> Iterator[Path]:
    """A temporary folder with a path short enough for UNIX sockets (108 bytes), which pytest's often is not."""
    folder = Path(tempfile.mkdtemp(prefix=f"cf-{name}-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(name: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> Running:
    """Start a program in a session of its own, output appended to `<folder>/<name>.log`."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
    return Running(name, process, log)


def wait_until(ready: Callable[[], bool], running: Running, timeout_s: float = 30.0) -> None:
    """Return when `ready` says so. Raises NotReady when the program ends first or time is up."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if running.process.poll() is not None:
            raise NotReady(f"{running.name} ended with {running.process.returncode}:\n{running.said()}")
        if time.monotonic() > deadline:
            raise NotReady(f"{running.name} is not ready after {timeout_s:g} s:\n{running.said()}")
        time.sleep(0.02)


def listens(path: Path) -> bool:
    """Whether a program takes connections at a socket: its file is there a moment before it does."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(path)) == 0


def wait_for(
    found: Callable[[], T | None], what: str = "it", patience_s: float = 120.0, told: Callable[[], str] = str
) -> T:
    """What `found()` gives, once that is something; else AssertionError says what never came, and what `told` knows."""
    until = time.monotonic() + patience_s
    while not (value := found()):
        assert time.monotonic() < until, f"{what} did not come within {patience_s:g} s\n{told()}"
        time.sleep(0.03)
    return value


def descendants(pid: int) -> list[int]:
    """Process ids below one, nearest first, whatever sessions they moved to (sshd's and dockerd's children do)."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    found = list(parents.get(pid, ()))
    for child in found:
        found.extend(parents.get(child, ()))
    return found


def end(running: Running, patience_s: float = 10.0) -> None:
    """TERM, then KILL, to the program and all below it; returns when it has been reaped."""
    family = descendants(running.pid)
    signal_group(running, signal.SIGTERM)
    try:
        running.process.wait(patience_s)
    except subprocess.TimeoutExpired:
        signal_group(running, signal.SIGKILL)
        running.process.wait()
    kill(family)


def kill(pids: Sequence[int]) -> None:
    """KILL each process; those that have gone already are no fault."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def signal_group(running: Running, number: signal.Signals) -> None:
    """Signal the program's process group; nothing when it has gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.pid, number)


def unmount_below(folder: Path) -> None:
    """Unmount all that lies under a folder, deepest first, so that removing it removes nothing else."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), key=len, reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


@contextlib.contextmanager
def run(
    name: str,
    argv: Sequence[str],
    folder: Path,
    ready: Callable[[], bool],
    timeout_s: float = 30.0,
    env: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Start a program, wait for `ready`, give it, and end it whatever happens."""
    running = start(name, argv, folder, env)
    try:
        wait_until(ready, running, timeout_s)
        yield running
    finally:
        end(running)
