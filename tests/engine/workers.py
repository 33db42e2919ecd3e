"""A project whose runs share their hosts between workers, with its journal in PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LONG = 180.0  # seconds; a busy machine takes its time to start processes
OF_PROCESSES = {"shard_started", "snapshot", "output", "usage"}  # who did it, and what it told while it ran


@dataclass
class Crewed:
    """`ciflow` on hosts h0, h1, .. that are all this machine."""

    folder: Path
    url: str
    hosts: int = 7
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = "".join(f"h{number}\n" for number in range(self.hosts))
        self.write("hosts", f"{names}[all:vars]\nansible_connection=local\n")
        self.env = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state"), "CIFLOW_STATE": self.url,
                    "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **self.env}  # fmt: skip

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "ciflow", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(*words), cwd=self.folder, env=self.env, capture_output=True, text=True,
                              timeout=LONG, check=False, stdin=subprocess.DEVNULL)  # fmt: skip

    def apply(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("apply", "site.yml", "-i", "hosts", *words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = self.argv("apply", "site.yml", "-i", "hosts", *words)
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.folder, env=self.env, text=True, stdout=pipe, stderr=pipe)

    def workers(self) -> list[int]:
        """Process ids of the workers that have begun a shard."""
        lines = self.run("logs", "--json").stdout.splitlines()
        events = [json.loads(line) for line in lines]
        return [int(e["data"]["worker"].split()[0]) for e in events if e["kind"] == "shard_started"]

    def lines(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


def commands(run: subprocess.CompletedProcess[str]) -> Counter[str]:
    """How many each play has run, whichever process has told of them."""
    events = [event for event in map(json.loads, run.stdout.splitlines()) if event["kind"] == "usage"]
    return sum((Counter({event["play"]: event["data"].get("commands", 0)}) for event in events), Counter())


def told(run: subprocess.CompletedProcess[str]) -> Counter[tuple[str, ...]]:
    """What a run told with `--json`: all but when, by whom, and in which order of hosts."""
    events: list[dict[str, Any]] = [json.loads(line) for line in run.stdout.splitlines()]
    words = ("status", "result", "reason", "message", "hosts_total", "exit", "msg", "name", "hosts")
    return Counter(
        (e["kind"], e.get("play", ""), e.get("host", ""), e.get("task", ""), *(str(e["data"].get(w)) for w in words))
        for e in events
        if e["kind"] not in OF_PROCESSES
    )
