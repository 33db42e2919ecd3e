"""The role `sccache_dist` on hosts behind sshd: they compile for this machine, and may die while they do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts import sccache_dist
from tests.parts.process import free_port
from tests.parts.sshd import Sshd
from tests.test_cli import Shell

PATIENCE = 300.0  # seconds
BIN = str(Path(sys.executable).parent)
pytestmark = pytest.mark.slow
BUILD = """
- name: Build
  hosts: localhost
  tasks:
    - name: Build
      cargo: {chdir: "{{ workspace }}", offline: true, cache: local}
      environment: {SCCACHE_IDLE_TIMEOUT: "{{ patience | default(600) }}"}
      register: built
    - name: Tell
      copy: {content: "{{ built.cache | to_json }}", dest: "{{ workspace }}/told.json", mode: "0644"}
"""


# As proc-macro2 and others do: what the compiler can do is found out by what it refuses.
PROBE = r"""fn main() {
    let set = |name| std::env::var(name).unwrap();
    let out = set("OUT_DIR");
    let words = ["--crate-name=probe", "--crate-type=lib", "--emit=dep-info,metadata", "--out-dir", &out, "probe.rs"];
    let tried = std::process::Command::new(set("RUSTC_WRAPPER")).arg(set("RUSTC")).args(words).status().unwrap();
    assert_eq!(tried.code(), Some(1));
}
"""


@dataclass
class Farm:
    """Three hosts, a machine that builds, and a workspace of three crates, each of which needs the one before it."""

    shell: Shell
    env: dict[str, str]
    workspace: Path
    planned: sccache_dist.Farm

    def run(self, playbook: str, *more: str) -> subprocess.CompletedProcess[str]:
        path = self.shell.folder / "farm.yml"
        path.write_text(playbook)
        hosts = str(self.shell.folder / "hosts")
        argv = self.shell.argv("apply", str(path), "-i", hosts, "-e", json.dumps(self.planned.variables), *more)
        env = {**self.shell.env, **self.env}
        return subprocess.run(argv, cwd=self.shell.folder, env=env, capture_output=True, text=True, check=False,
                              timeout=600, stdin=subprocess.DEVNULL)  # fmt: skip

    def status(self) -> tuple[int, dict[str, object]]:
        done = self.shell("distribute", "status", "--json", **self.env)
        return done.returncode, json.loads(done.stdout)

    def build(self, *more: str) -> dict[str, object]:
        """From nothing; what its cache told."""
        for folder in (self.workspace / "target", Path(self.env["SCCACHE_DIR"])):
            shutil.rmtree(folder, ignore_errors=True)
        done = self.run(BUILD, "-e", f"workspace={self.workspace}", *more)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads((self.workspace / "told.json").read_text()))


@pytest.fixture
def farm(tmp_path: Path, ssh_hosts: list[Sshd]) -> Iterator[Farm]:
    (tmp_path / "home").mkdir()
    planned = sccache_dist.Farm.planned(tmp_path, builders=2)
    hosts = [host.inventory_line(f"h{number}") for number, host in enumerate(ssh_hosts[:3])]
    (tmp_path / "hosts").write_text(planned.inventory(hosts))
    home = Path.home()
    env = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "SCCACHE_CONF": str(planned.config),
        "SCCACHE_DIR": str(tmp_path / "crates"),
        "SCCACHE_SERVER_PORT": str(free_port()),
    }
    yield Farm(Shell(tmp_path), env, workspace(tmp_path), planned)
    planned.end()
    subprocess.run([f"{BIN}/sccache", "--stop-server"], env=os.environ | env, capture_output=True, check=False)


def workspace(folder: Path) -> Path:
    root = folder / "workspace"
    for before, name in (("", "one"), ("one", "two"), ("two", "three")):
        (root / name / "src").mkdir(parents=True)
        needs = f'{before} = {{ path = "../{before}" }}\n' if before else ""
        manifest = f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\n{needs}'
        (root / name / "Cargo.toml").write_text(manifest)
        (root / name / "src" / "lib.rs").write_text(f"pub fn {name}() {{}}\n")
    (root / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["one", "two", "three"]\n')
    (root / "three" / "build.rs").write_text(PROBE)
    (root / "three" / "probe.rs").write_text('pub fn a() -> u32 { "not a number" }')
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return root


def signalled(farm: Farm, how: str, pids: list[int]) -> None:
    """In the middle of builds, from now on."""
    killing = "".join(f'    std::process::Command::new("kill").args(["{how}", "{pid}"]).status().unwrap();\n'
                      for pid in pids)  # fmt: skip
    (farm.workspace / "two" / "build.rs").write_text(f"fn main() {{\n{killing}}}\n")


def test_hosts_compile_for_a_machine_and_may_fall_silent_or_die_while_they_do(farm: Farm) -> None:
    code, told = farm.status()
    assert (code, told["connected"]) == (4, False), "nothing is set up yet"
    done = farm.run(sccache_dist.PLAYBOOK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr
    code, told = farm.status()
    assert (code, told["connected"], told["builders"]) == (0, True, 2), told
    assert farm.run(sccache_dist.PLAYBOOK).returncode == 0, "a second time changes nothing"
    assert farm.status()[1]["builders"] == 2
    whole, until = farm.build(), time.monotonic() + PATIENCE
    while whole.get("distributed") != 4 and time.monotonic() < until:  # what no builder takes in time is compiled here
        whole = farm.build()
    assert (whole.get("distributed"), whole["lost"]) == (4, ""), "three crates, and a probe that is refused"
    assert int(str(whole["misses"])) >= 3
    everybody = farm.planned.programs()
    signalled(farm, "-STOP", everybody)
    farm.build("-e", "patience=5")
    assert farm.status()[0] == 4
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    signalled(farm, "-9", everybody)
    half = farm.build()
    assert int(str(half.get("distributed", 0))) < 3, "the crates after the first were compiled here"
    assert half["lost"] == ""
    assert int(str(half["misses"])) >= 3
    assert farm.status()[0] == 4
