"""The role `sccache_dist` on hosts behind sshd: they compile for this machine, and may die while they do.

All lie on loopback, where a scheduler sees every builder at 127.0.0.1: so that is their address, with a port for each.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.process import free_port
from tests.parts.sshd import Sshd
from tests.test_cli import Shell

BIN = str(Path(sys.executable).parent)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(not Path(BIN, "sccache-dist").exists(), reason="sccache is not installed: make parts"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed: make parts"),
    pytest.mark.skipif(os.geteuid() != 0, reason="sccache-dist builds as root"),
]
FARM = """
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
BUILD = """
- name: Build
  hosts: localhost
  tasks:
    - name: Build
      cargo: {chdir: "{{ workspace }}", offline: true, cache: local}
      register: built
    - name: Tell
      copy: {content: "{{ built.cache | to_json }}", dest: "{{ workspace }}/told.json", mode: "0644"}
"""


@dataclass
class Farm:
    """Three hosts, a machine that builds, and a workspace of three crates, each of which needs the one before it."""

    shell: Shell
    env: dict[str, str]
    workspace: Path
    variables: list[str]

    def run(self, playbook: str, *more: str) -> subprocess.CompletedProcess[str]:
        path = self.shell.folder / "farm.yml"
        path.write_text(playbook)
        hosts = str(self.shell.folder / "hosts")
        argv = self.shell.argv("apply", str(path), "-i", hosts, *self.variables, *more)
        env = {**self.shell.env, **self.env}
        return subprocess.run(argv, cwd=self.shell.folder, env=env, capture_output=True, text=True, check=False,
                              timeout=600, stdin=subprocess.DEVNULL)  # fmt: skip

    def status(self) -> tuple[int, dict[str, object]]:
        done = self.shell("distribute", "status", "--json", **self.env)
        return done.returncode, json.loads(done.stdout)

    def build(self) -> dict[str, object]:
        """From nothing; what its cache told."""
        for folder in (self.workspace / "target", Path(self.env["SCCACHE_DIR"])):
            shutil.rmtree(folder, ignore_errors=True)
        done = self.run(BUILD, "-e", f"workspace={self.workspace}")
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads((self.workspace / "told.json").read_text()))

    def programs(self) -> list[int]:
        """sccache-dist and those that would start it again, which come first."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if str(self.shell.folder / "farm") in (process / "cmdline").read_text():
                    status = (process / "status").read_text()
                    found += [int(status.partition("PPid:\t")[2].split()[0]), int(process.name)]
            except OSError:
                continue
        return [pid for pid in dict.fromkeys(found) if pid != 1]


@pytest.fixture
def farm(tmp_path: Path, ssh_hosts: list[Sshd]) -> Iterator[Farm]:
    (tmp_path / "home").mkdir()
    ports = [free_port() for _ in range(3)]
    lines = ["[scheduler]", ssh_hosts[0].inventory_line("s1"), "[builders]"]
    for host, port in zip(ssh_hosts[1:3], ports[1:], strict=True):
        lines.append(f"{host.inventory_line(f'b{port}')} sccache_dist_port={port} sccache_dist_address=127.0.0.1")
    (tmp_path / "hosts").write_text("\n".join(lines) + "\n")
    said = {
        "sccache_dist_scheduler": f"127.0.0.1:{ports[0]}",
        "sccache_dist_client_token": "client secret",
        "sccache_dist_builder_token": "builder secret",
        "sccache_dist_folder": str(tmp_path / "farm"),
        "sccache_dist_program": str(Path(BIN, "sccache-dist")),
        "sccache_dist_config": str(tmp_path / "client" / "config"),
    }
    home = Path.home()
    env = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "SCCACHE_CONF": str(tmp_path / "client" / "config"),
        "SCCACHE_DIR": str(tmp_path / "crates"),
        "SCCACHE_SERVER_PORT": str(free_port()),
        "SCCACHE_IDLE_TIMEOUT": "30",
    }
    made = Farm(Shell(tmp_path), env, workspace(tmp_path), ["-e", json.dumps(said)])
    yield made
    for pid in made.programs():
        os.kill(pid, signal.SIGKILL)
    subprocess.run([f"{BIN}/sccache", "--stop-server"], env=os.environ | env, capture_output=True, check=False)
    for line in Path("/proc/mounts").read_text().splitlines():
        if str(tmp_path) in line:
            subprocess.run(["umount", "--lazy", line.split()[1]], check=False, capture_output=True)


def workspace(folder: Path) -> Path:
    root = folder / "workspace"
    for before, name in (("", "one"), ("one", "two"), ("two", "three")):
        (root / name / "src").mkdir(parents=True)
        needs = f'{before} = {{ path = "../{before}" }}\n' if before else ""
        manifest = f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\n{needs}'
        (root / name / "Cargo.toml").write_text(manifest)
        (root / name / "src" / "lib.rs").write_text(f"pub fn {name}() {{}}\n")
    (root / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["one", "two", "three"]\n')
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return root


def test_hosts_compile_for_a_machine_and_may_die_while_they_do(farm: Farm) -> None:
    code, told = farm.status()
    assert (code, told["connected"]) == (4, False), "nothing is set up yet"
    done = farm.run(FARM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr
    code, told = farm.status()
    assert (code, told["connected"], told["builders"]) == (0, True, 2), told
    assert farm.run(FARM).returncode == 0, "a second time changes nothing"
    assert farm.status()[1]["builders"] == 2
    whole = farm.build()
    assert (whole["distributed"], whole["misses"], whole["lost"]) == (3, 3, "")
    killing = "".join(f'    std::process::Command::new("kill").args(["-9", "{pid}"]).status().unwrap();\n'
                      for pid in farm.programs())  # fmt: skip
    (farm.workspace / "two" / "build.rs").write_text(f"fn main() {{\n{killing}}}\n")
    half = farm.build()
    assert int(str(half.get("distributed", 0))) < 3, "the crates after the first were compiled here"
    assert (half["misses"], half["lost"]) == (3, "")
    assert farm.status()[0] == 4
