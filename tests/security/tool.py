"""ciflow as a user has it, in a folder of its own, and what an attacker or a careful operator looks at afterwards."""

from __future__ import annotations

import base64
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.parts.process import descendants


@dataclass
class Tool:
    """A folder with playbooks, a journal beside them, and a home of its own for what agents leave there."""

    folder: Path
    state: Path = field(init=False)
    home: Path = field(init=False)
    extra: Mapping[str, str] = field(default_factory=dict)  # of the environment

    def __post_init__(self) -> None:
        self.state = self.folder / "state"
        self.home = self.folder / "home"
        self.home.mkdir(exist_ok=True)

    @property
    def env(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("CIFLOW_", "ANSIBLE_"))}
        return {**env, "CIFLOW_STATE": str(self.state), "HOME": str(self.home), "NO_COLOR": "1", **self.extra}

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape"))
        return path

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ciflow", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=pipe, stderr=pipe)

    def run(self, *args: str, timeout: float = 120) -> Said:
        process = self.start(*args)
        out, err = process.communicate(timeout=timeout)
        return Said(process.returncode, out, err)

    def watched(self, *args: str, pause: float = 0.004) -> tuple[Said, set[bytes]]:
        """The same, and every argument list and environment seen in /proc below it while it ran."""
        seen: set[bytes] = set()
        process = self.start(*args)
        while process.poll() is None:
            for pid in [process.pid, *descendants(process.pid)]:
                seen |= {_proc(pid, "cmdline"), _proc(pid, "environ")}
            time.sleep(pause)
        out, err = process.communicate()
        return Said(process.returncode, out, err), seen


@dataclass
class Said:
    """What one process came to."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return (self.out + self.err).decode("utf-8", "replace")


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def forms(secret: str) -> dict[str, bytes]:
    """How a secret may lie somewhere: as it is, and in base64 at each place of a group, URL, JSON and hexadecimal."""
    raw = secret.encode()
    shifted = {f"base64+{n}": base64.b64encode(bytes(n) + raw)[4:-4] for n in range(3)}
    return {
        "raw": raw,
        **shifted,
        "url": quote(secret, safe="").encode(),
        "json": json.dumps(secret)[1:-1].encode(),
        "hex": raw.hex().encode(),
    }


def holding(secret: str, folders: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Files below the folders that hold the secret, and in which form."""
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            content = path.read_bytes()
            yield from ((path, name) for name, form in forms(secret).items() if form in content)


def reap(process: subprocess.Popen[bytes]) -> resource.struct_rusage:
    """Wait for a process, and say what it alone used: RUSAGE_CHILDREN counts whatever else was reaped meanwhile."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def limit_memory(megabytes: int) -> None:
    """For `preexec_fn`: the child may not have more."""
    resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
