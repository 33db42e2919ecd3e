"""Playbooks run in a namespace of their own, so that what they mount, filter and set is gone with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.parts.process import MissingPart


@dataclass(frozen=True)
class Ended:
    """How one task ended."""

    name: str
    status: str
    msg: str
    outcome: dict[str, Any]


def enter(*flags: str) -> list[str]:
    """What stands before a command that is to run in a namespace of its own (unshare(1))."""
    if os.geteuid() != 0:
        raise MissingPart("a namespace of one's own needs root")
    return ["unshare", *flags]


def played(folder: Path, tasks: Sequence[dict[str, Any]], *flags: str, more: Sequence[str] = ()) -> list[Ended]:
    """Run tasks in one play on this machine; how each ended, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    named = [{"name": str(number), "ignore_errors": True, **task} for number, task in enumerate(tasks)]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": named}
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    argv = [*enter(*flags), sys.executable, "-m", "ciflow", "apply", "play.yml", "-i", "localhost,", "--json", *more]
    done = subprocess.run(
        [*argv, "--state", str(folder / "state")], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    told = [event["data"] for event in events if event["kind"] == "task_ended"]
    assert len(told) == len(tasks), done.stdout + done.stderr
    return [Ended(one["name"], one["status"], one.get("msg", ""), one["outcome"]) for one in told]
