"""The compiler cache: the real sccache over a folder, Redis and S3, and builds that outlive the death of each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.modules.host import Host
from tests.parts.actions_cache import actions_cache
from tests.parts.redis import redis
from tests.parts.s3 import BUCKET, KEYS, s3

BIN = str(Path(sys.executable).parent)
pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(not Path(BIN, "sccache").exists(), reason="sccache is not installed: make parts"),
]
CRATES = ("one", "two", "three")
KILL = """
use std::process::Command;
fn main() {
    Command::new("kill").args(["-9", "PID"]).status().unwrap();
    Command::new(std::env::var("RUSTC_WRAPPER").unwrap()).arg("--stop-server").status().unwrap();
}
"""


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a task: sccache on the path, a cache of this test's own. Its servers end with it."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "SCCACHE_DIR": str(tmp_path / "crates"), "XDG_CACHE_HOME": str(tmp_path / "ours")}
    yield own
    for wrapper in (tmp_path / "ours" / "ciflow" / "rust").glob("rustc-*"):
        if os.access(wrapper, os.X_OK):
            subprocess.run([wrapper, "--stop-server"], env={**os.environ, **own}, capture_output=True, check=False)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Three libraries, each of which needs the one before it, so that they compile one after the other."""
    root = tmp_path / "workspace"
    for before, name in zip(("", *CRATES), CRATES, strict=False):
        (root / name / "src").mkdir(parents=True)
        needs = f'{before} = {{ path = "../{before}" }}\n' if before else ""
        manifest = f'[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\n{needs}'
        (root / name / "Cargo.toml").write_text(manifest)
        value = f"{before}::{before}()" if before else "1"
        (root / name / "src" / "lib.rs").write_text(f"pub fn {name}() -> u32 {{ {value} }}\n")
    (root / "Cargo.toml").write_text(f'[workspace]\nresolver = "2"\nmembers = {list(CRATES)}\n'.replace("'", '"'))
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return root


def build(host: Host, workspace: Path, env: dict[str, str], cache: str = "auto") -> dict[str, Any]:
    """A build from nothing; what its cache told."""
    shutil.rmtree(workspace / "target", ignore_errors=True)
    args = {"chdir": str(workspace), "offline": True, "cache": cache}
    outcome = host.task("cargo", args, environment=env, seed=f"seed {workspace}")
    assert not outcome.failed, outcome.msg
    assert outcome.data["compiled"] == len(CRATES)
    return dict(outcome.data["cache"])


def counted(told: dict[str, Any]) -> tuple[str, int, int]:
    return told["backend"], told["hits"], told["misses"]


@pytest.mark.slow
def test_the_second_build_takes_every_crate_from_the_folder(host: Host, workspace: Path, env: dict[str, str]) -> None:
    first, second = build(host, workspace, env), build(host, workspace, env)
    assert (counted(first), counted(second)) == (("local", 0, 3), ("local", 3, 0))
    assert first["seconds_saved"] == 0
    assert second["seconds_saved"] > 0
    assert "SCCACHE_BUCKET is not set" in first["why"]


@pytest.mark.slow
def test_redis_is_taken_where_it_answers_and_shares_crates_between_machines(
    host: Host, workspace: Path, env: dict[str, str], start: Start, tmp_path: Path
) -> None:
    server = start(redis(tmp_path))
    env["SCCACHE_REDIS_ENDPOINT"] = server.url
    assert counted(build(host, workspace, env)) == ("redis", 0, 3)
    elsewhere = {**env, "SCCACHE_DIR": str(tmp_path / "other")}
    shutil.rmtree(tmp_path / "crates")  # as on another machine, nothing is here
    assert counted(build(host, workspace, elsewhere)) == ("redis", 3, 0)
    assert counted(build(host, workspace, elsewhere, "local")) == ("local", 3, 0), "the nearer tier was filled"


@pytest.mark.slow
def test_prefix_and_size_of_a_store_are_those_that_were_said(
    host: Host, env: dict[str, str], start: Start, tmp_path: Path
) -> None:
    server = start(redis(tmp_path))
    args = {"backend": "redis", "redis": server.url, "prefix": "team", "state": "verified"}
    tried = host.task("cache", args, environment=env, seed="prefix")
    assert not tried.failed, tried.msg
    listed = subprocess.run(["redis-cli", "-p", str(server.port), "--scan"], capture_output=True, text=True, check=True)
    keys = listed.stdout.split()
    assert keys
    assert {key.strip("/").partition("/")[0] for key in keys} == {"team"}
    sized = {"backend": "local", "dir": str(tmp_path / "small"), "size": "7M", "compression": 19}
    small = host.task("cache", sized, environment=env)
    wrapper = small.data["env"]["RUSTC_WRAPPER"]
    told = subprocess.run([wrapper, "--show-stats", "--stats-format=json"], capture_output=True, env=env, check=True)
    assert json.loads(told.stdout)["max_cache_size"] == 7 * 1024**2
    assert "SCCACHE_CACHE_ZSTD_LEVEL=19" in Path(wrapper).read_text()


@pytest.mark.slow
def test_s3_is_taken_where_it_answers(host: Host, env: dict[str, str], start: Start, tmp_path: Path) -> None:
    address = start(s3(tmp_path))
    env |= KEYS
    args = {"bucket": BUCKET, "endpoint": address, "state": "verified"}
    tried = host.task("cache", args, environment=env, seed="s3")
    assert not tried.failed, tried.msg
    assert (tried.data["backend"], tried.data["hits"], tried.data["misses"]) == ("s3", 1, 1)
    assert tried.data["env"]["RUSTC_WRAPPER"].startswith(str(tmp_path / "ours"))


@pytest.mark.slow
def test_a_job_of_github_actions_uses_the_cache_of_its_repository(host: Host, env: dict[str, str]) -> None:
    """The real sccache against a stand-in for that service, which speaks its second version alone."""
    with actions_cache() as url:
        env |= {"GITHUB_ACTIONS": "true", "ACTIONS_RESULTS_URL": url, "ACTIONS_RUNTIME_TOKEN": "token"}
        tried = host.task("cache", {"state": "verified"}, environment=env, seed="github")
        assert not tried.failed, tried.msg
        assert (tried.data["backend"], tried.data["hits"], tried.data["misses"]) == ("github", 1, 1)


@pytest.mark.slow
def test_a_store_that_dies_in_the_middle_of_a_build_does_not_break_it(
    host: Host, workspace: Path, env: dict[str, str], start: Start, tmp_path: Path
) -> None:
    """The second crate's build script kills Redis and sccache's server: the worst that a build can meet."""
    server = start(redis(tmp_path))
    env["SCCACHE_REDIS_ENDPOINT"] = server.url
    script = KILL.replace("PID", str(server.running.pid))
    (workspace / "two" / "build.rs").write_text(script)
    shutil.rmtree(workspace / "target", ignore_errors=True)
    args = {"chdir": str(workspace), "offline": True, "cache": "auto"}
    outcome = host.task("cargo", args, environment=env, seed="dies")
    assert not outcome.failed, outcome.msg
    assert outcome.data["cache"]["lost"] == "sccache ended with 2"
    assert left_behind(tmp_path) == []


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_passed_over_and_said(host: Host, workspace: Path, env: dict[str, str]) -> None:
    env["SCCACHE_REDIS_ENDPOINT"] = "redis://somebody:secret@127.0.0.1:1"
    told = build(host, workspace, env)
    assert told["backend"] == "local"
    assert "redis: 127.0.0.1:1 doesn't answer" in told["why"]
    assert "secret" not in str(told)
    alone = build(host, workspace, env, "redis")
    assert (alone["backend"], alone["why"]) == ("", "redis: 127.0.0.1:1 doesn't answer")
    wanted = host.task("cache", {"backend": "redis"}, environment=env)
    assert wanted.failed, "who sets up a cache wants to know that it is dead"


@pytest.mark.slow
def test_emptying_the_cache_removes_crates_and_nothing_else(host: Host, env: dict[str, str], tmp_path: Path) -> None:
    tried = host.task("cache", {"state": "verified"}, environment=env, seed="clean")
    assert not tried.failed, tried.msg
    mine = tmp_path / "crates" / "mine.txt"
    mine.write_text("somebody's own")
    emptied = host.task("cache", {"state": "absent"}, environment=env)
    assert emptied.changed and emptied.data["removed"] > 0
    assert mine.read_text() == "somebody's own"
    assert [path.name for path in (tmp_path / "crates").iterdir()] == ["mine.txt"]


def left_behind(folder: Path) -> list[str]:
    """Servers of this test's caches that still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "sccache\n" and str(folder) in (process / "environ").read_text():
                found.append(process.name)
        except OSError:
            continue
    return found
