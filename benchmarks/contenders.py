"""Who runs in the bench, and how each is asked to do a work. Peers get their best usual settings, in their favour."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import installed
from benchmarks.peers import Peers

REPO = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Command:
    """One program to run: its arguments and what it needs in its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


def floor(program: str, *arguments: object) -> Command:
    """One of the hand-written minimal programs beside this file."""
    argv = (sys.executable, "-m", f"benchmarks.{program}", *(str(argument) for argument in arguments))
    return Command(argv, {"PYTHONPATH": str(REPO)})


def ciflow(*arguments: str) -> Command:
    return Command((installed.program(), *arguments))


def ansible(peers: Peers, home: Path, *arguments: str) -> Command:
    """ansible-playbook as it comes: five forks, no pipelining.

    `home` is new for each run, so that no connection is warm.
    """
    env = {
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(home / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "LC_ALL": "C.UTF-8",
    }
    return Command((peers.program("ansible-playbook"), *arguments), env)


def pipelined(peers: Peers, home: Path, hosts: int, *arguments: str) -> Command:
    """With pipelining and a fork for each host, 50 at most."""
    plain = ansible(peers, home, *arguments)
    return Command(plain.argv, {**plain.env, "ANSIBLE_PIPELINING": "True",
                                "ANSIBLE_FORKS": str(min(max(hosts, 5), 50))})  # fmt: skip


def mitogen(peers: Peers, home: Path, hosts: int, *arguments: str) -> Command:
    """The same over mitogen."""
    plain = pipelined(peers, home, hosts, *arguments)
    strategy = {"ANSIBLE_STRATEGY_PLUGINS": str(peers.mitogen_strategies), "ANSIBLE_STRATEGY": "mitogen_linear"}
    return Command(plain.argv, {**plain.env, **strategy})


def pyinfra(peers: Peers, *arguments: str, env: Mapping[str, str] = {}) -> Command:
    return Command((peers.program("pyinfra"), "-y", *arguments), {"LC_ALL": "C.UTF-8", **env})


def end_ssh_masters(home: Path) -> None:
    """End the OpenSSH connections that Ansible keeps for the next run."""
    for path in (home / "cp").glob("*"):
        argv = ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "nobody"]
        subprocess.run(argv, capture_output=True, check=False)
