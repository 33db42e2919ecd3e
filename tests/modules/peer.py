"""Ansible's own modules, run one by one on this machine: what a module of the same name must do as well."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.peers import PINNED, Peers

PEER = Path(__file__).parents[1] / "engine" / "peer"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")  # before a test takes another home


@dataclass(frozen=True)
class Ansible:
    """`path` goes before PATH, for a module that needs a program which a test brings."""

    python: str
    folder: Path
    path: str = ""

    def task(self, module: str, /, **args: Any) -> dict[str, Any]:
        """The module's whole answer; of a failure too."""
        given = self.folder / f"{module}.json"
        given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {**args, "_ansible_remote_tmp": str(self.folder)}}))
        environment = {**os.environ, "PATH": f"{self.path}:{os.environ['PATH']}"}
        argv = [self.python, "-m", f"ansible.modules.{module}", str(given)]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert answers, done.stdout + done.stderr
        return dict(json.loads(answers[-1]))


@dataclass(frozen=True)
class Played:
    """What ansible-playbook said of each task, in our words for it, and what a command said afterwards."""

    statuses: list[str]
    after: str


def ansible_playbook(folder: Path, tasks: Sequence[Mapping[str, Any]], inside: Sequence[str], after: str) -> Played:
    """Run tasks in one play on this machine, all of it behind `inside`, and then `after` by a shell in there."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [{"name": str(number), "ignore_errors": True, **task} for number, task in enumerate(tasks)]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": named}
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "lines",
        "ANSIBLE_CALLBACK_PLUGINS": str(PEER / "callback"),
        "ANSIBLE_HOME": str(folder / "home"),
    }
    script = f'"$@" > play.out 2>&1; {after}'
    program = [_peers().program("ansible-playbook"), "-e", f"ansible_python_interpreter={_peers().program('python')}"]
    argv = [*inside, "sh", "-c", script, "sh", *program, "-i", "localhost,", "play.yml"]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in (folder / "play.out").read_text().splitlines() if line.startswith("[")]
    statuses = [str(json.loads(line)[2]) for line in lines]
    assert len(statuses) == len(tasks), (folder / "play.out").read_text() + done.stderr
    return Played(statuses, done.stdout)


def ansible(folder: Path, path: str = "") -> Ansible:
    """Skips where it is not installed."""
    return Ansible(_peers().program("python"), folder, path)


def _peers() -> Peers:
    peers = Peers(CACHE / "ciflow" / "peers")
    stamp = peers.venv / "pinned"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINNED):
        pytest.skip("ansible is not installed beside the benches: `python -m benchmarks.peers` does it")
    return peers
