"""A farm of sccache-dist on loopback, as the role `sccache_dist` sets it up, which sees every builder at 127.0.0.1."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parts.process import MissingPart, find, free_port, kill

PROGRAM = Path(sys.executable).with_name("sccache-dist")
PATIENCE_S = 30.0
PLAYBOOK = """
- name: Scheduler
  hosts: scheduler
  tasks: [{import_role: {name: sccache_dist, tasks_from: scheduler}}]
- name: Builders
  hosts: builders
  tasks: [{import_role: {name: sccache_dist, tasks_from: builder}}]
- name: Clients
  hosts: localhost
  tasks: [{import_role: {name: sccache_dist, tasks_from: client}}]
"""


def check() -> None:
    """Raises MissingPart where it can't run."""
    if not PROGRAM.exists():
        raise MissingPart("sccache is not installed: make parts")
    if shutil.which("cargo") is None:
        raise MissingPart("cargo is not installed")
    if os.geteuid() != 0:
        raise MissingPart("sccache-dist builds as root")
    find("bwrap", "bubblewrap")


@dataclass(frozen=True)
class Farm:
    """What the role is told. `ports` are the scheduler's and one for each builder."""

    folder: Path
    ports: Sequence[int]

    @classmethod
    def planned(cls, folder: Path, builders: int) -> "Farm":
        check()
        return cls(folder, [free_port() for _ in range(builders + 1)])

    @property
    def config(self) -> Path:
        """Of the machines that build."""
        return self.folder / "client" / "config"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "sccache_dist_scheduler": f"127.0.0.1:{self.ports[0]}",
            "sccache_dist_client_token": "client secret",
            "sccache_dist_builder_token": "builder secret",
            "sccache_dist_folder": str(self.folder / "farm"),
            "sccache_dist_program": str(PROGRAM),
            "sccache_dist_config": str(self.config),
        }

    def inventory(self, hosts: Sequence[str]) -> str:
        """Of lines that say how each host is reached, the scheduler's first."""
        lines = ["[scheduler]", hosts[0], "[builders]"]
        for host, port in zip(hosts[1:], self.ports[1:], strict=True):
            lines.append(f"{host} sccache_dist_port={port} sccache_dist_address=127.0.0.1")
        return "\n".join(lines) + "\n"

    def programs(self) -> list[int]:
        """sccache-dist and those that would start it again, which come first."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.folder / "farm") in (process / "cmdline").read_text():
                    status = (process / "status").read_text()
                    found += [int(status.partition("PPid:\t")[2].split()[0]), int(process.name)]
            except OSError:
                continue
        return [pid for pid in dict.fromkeys(found) if pid not in (1, os.getpid())]

    def end(self) -> None:
        """All of it, what was being started again meanwhile too, with what it mounted."""
        until = time.monotonic() + PATIENCE_S
        while (found := self.programs()) and time.monotonic() < until:
            kill(found)
            time.sleep(0.1)
        for line in Path("/proc/mounts").read_text().splitlines():
            if str(self.folder) in line:
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False, capture_output=True)
