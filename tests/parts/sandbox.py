"""A whole machine of one's own to break: this one's files under a layer that is thrown away, in namespaces of its own.

Whatever happens inside (packages, users, services, a host's name), this machine keeps its files and its processes:
the root is an overlay over `/` whose upper layer lives in memory, process 1 is the sandbox's own.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.parts import process

_ROOT = Path(__file__).resolve().parents[2]
# $1 a folder, $2 "systemd" or "", the rest process 1. /proc/sys stays read-only: it belongs to the whole machine.
_ENTER = r"""
set -e
folder=$1 init=$2; shift 2
mount -t tmpfs -o mode=755 sandbox "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
root=$folder/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" sandbox "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs run "$root/run"
[ ! -x /sbin/ip ] || ip link set lo up
if [ "$init" = systemd ]; then
  mount -t sysfs -o ro sysfs "$root/sys"
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
  else
    mount -t tmpfs cgroup "$root/sys/fs/cgroup"; mkdir "$root/sys/fs/cgroup/systemd"
    mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
  fi
  rm -rf "$root"/etc/systemd/system/*.wants "$root"/lib/systemd/system/*.wants
  printf '[Unit]\nDescription=Nothing but what a test starts\nDefaultDependencies=no\n' \
    >"$root/etc/systemd/system/bare.target"
fi
exec chroot "$root" "$@"
"""
_ASLEEP = ("/bin/sleep", "1000000")
_SYSTEMD = ("/usr/bin/env", "container=sandbox", "/lib/systemd/systemd", "--unit=bare.target", "--log-target=null",
            "--show-status=no")  # fmt: skip


@dataclass(frozen=True)
class Sandbox:
    """The machine, by the process id (seen from outside) of its process 1."""

    pid: int

    def run(
        self, *argv: str, stdin: str = "", check: bool = True, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as root in `/`. Raises CalledProcessError unless told not to."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--root"]
        enter += ["env", "--chdir=/"]
        kept = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", **(env or {})}
        done = subprocess.run(
            [*enter, *argv], input=stdin, capture_output=True, text=True, timeout=300, env=kept, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} gave {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def write(self, path: str, content: str, mode: str = "644") -> None:
        self.run(
            "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"', "sh", path, mode, stdin=content
        )

    def read(self, path: str) -> str:
        return self.run("cat", path).stdout

    def play(self, tasks: str, *options: str) -> "Played":
        """`ciflow apply` of these tasks on the sandbox itself, in a project of its own."""
        head = "- name: Tasks\n  hosts: localhost\n  connection: local\n  tasks:\n"
        self.write("/tmp/play/site.yml", head + "".join(f"    {line}\n" for line in tasks.strip("\n").split("\n")))
        state = f"/tmp/state-{secrets.token_hex(4)}"
        env = {"CIFLOW_STATE": state, "PYTHONPATH": str(_ROOT), "NO_COLOR": "1"}
        argv = [sys.executable, "-m", "ciflow", "apply", "/tmp/play/site.yml", "--json", *options]
        done = self.run(*argv, check=False, env=env)
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        results = [event["data"] for event in events if event.get("kind") == "task_ended"]
        return Played(done.returncode, results, done.stderr)


@dataclass(frozen=True)
class Played:
    """What came of a play: its exit code, and for each task what `task_ended` says."""

    code: int
    results: list[dict[str, Any]]
    said: str

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """What each task registers; that facts were read is no task."""
        return [result["outcome"] for result in self.results if result["module"] != "setup"]

    @property
    def changed(self) -> list[bool]:
        """Whether each task changed something; the play must have gone well."""
        assert self.code == 0, (self.results[-1:], self.said)
        return [outcome["changed"] for outcome in self.outcomes]


@contextlib.contextmanager
def sandbox(folder: Path, *, systemd: bool = False) -> Iterator[Sandbox]:
    """A machine; with `systemd` as its process 1, or else with one that sleeps. `folder` is an empty one."""
    if os.geteuid() != 0:
        raise process.MissingPart("a machine of one's own needs root")
    if systemd and not Path("/lib/systemd/systemd").exists():
        raise process.MissingPart("systemd is not installed: make parts")
    for program in ("unshare", "nsenter"):
        process.find(program, "util-linux")
    folder.mkdir(parents=True, exist_ok=True)
    group = _control_group() if systemd else None
    argv = ["unshare", "-mpuin", *(["-C"] if group else []), "--propagation", "private", "--fork", "--kill-child"]
    init = _SYSTEMD if systemd else _ASLEEP
    argv += ["sh", "-c", _ENTER, "sh", str(folder), "systemd" if systemd else "", *init]
    if group:
        argv = ["sh", "-c", 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"', "sh", str(group), *argv]
    running = process.start("sandbox", argv, folder.parent)
    try:
        yield _ready(running, systemd=systemd)
    finally:
        process.end(running, patience_s=0.1)
        if group:
            _remove(group)


def _ready(running: process.Running, *, systemd: bool) -> Sandbox:
    """The machine once its process 1 has come so far. Raises MissingPart where the kernel doesn't permit it."""

    def up() -> bool:
        below = process.descendants(running.pid)
        if not below:
            return False
        name = Path(f"/proc/{below[0]}/comm").read_text().strip()
        if name != ("systemd" if systemd else "sleep"):
            return False
        return (
            not systemd or Sandbox(below[0]).run("systemctl", "is-active", "bare.target", check=False).returncode == 0
        )

    try:
        process.wait_until(up, running, timeout_s=20)
    except process.NotReady as missing:
        raise process.MissingPart(f"a machine of one's own is not permitted here: {missing}") from missing
    return Sandbox(process.descendants(running.pid)[0])


def _control_group() -> Path:
    base = Path("/sys/fs/cgroup")
    group = (base if (base / "cgroup.controllers").exists() else base / "systemd") / f"sandbox-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        raise process.MissingPart(f"control groups can't be made here: {error}") from error
    return group


def _remove(group: Path, patience_s: float = 5.0) -> None:
    """A control group is a folder whose files don't count; it goes once its processes are reaped."""
    deadline = time.monotonic() + patience_s
    while group.exists():
        below = sorted((path for path in group.rglob("*") if path.is_dir()), key=lambda path: len(path.parts))
        with contextlib.suppress(OSError):
            for folder in (*reversed(below), group):
                folder.rmdir()
        if time.monotonic() > deadline:
            raise AssertionError(f"{group} can't be taken away")
        time.sleep(0.02)
