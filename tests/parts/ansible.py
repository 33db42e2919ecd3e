"""Ansible itself, as the benches install it: the peer that says what Ansible does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import PINNED, Peers
from tests.parts import process
from tests.parts.process import MissingPart


@dataclass(frozen=True)
class Ansible:
    """Its programs, with a home of their own and nothing of this machine's configuration."""

    peers: Peers
    home: Path

    @property
    def env(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CIFLOW_"))}
        return {**clean, "ANSIBLE_HOME": str(self.home), "ANSIBLE_LOCALHOST_WARNING": "0",
                "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0"}  # fmt: skip

    def run(self, program: str, *args: str, folder: Path, stdin: bytes = b"") -> bytes:
        """What it prints. AssertionError, with its words, where it fails."""
        argv = [self.peers.program(program), *args]
        done = subprocess.run(argv, cwd=folder, env=self.env, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr.decode()}"
        return done.stdout


@contextmanager
def ansible(folder: Path) -> Iterator[Ansible]:
    """The pinned versions; MissingPart where they are not installed."""
    peers = Peers(process.CACHE / "ciflow" / "peers")
    stamp = peers.venv / "pinned"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINNED):
        raise MissingPart("ansible is not installed beside the benches: `python -m benchmarks.peers` does it")
    yield Ansible(peers, folder)
