"""Workspaces, tools and disks that are not as they should be: one line says what is wrong, and where."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.modules.host import Host
from tests.parts.process import MissingPart
from tests.parts.tinyfs import tinyfs

BIN = str(Path(sys.executable).parent)
MANIFEST = '[package]\nname = "small"\nversion = "1.0.0"\nedition = "2021"\n'
pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(not Path(BIN, "cargo-nextest").exists(), reason="cargo-nextest is not installed: make parts"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "small"
    (root / "src").mkdir(parents=True)
    (root / "Cargo.toml").write_text(MANIFEST)
    (root / "Cargo.lock").write_text('version = 4\n\n[[package]]\nname = "small"\nversion = "1.0.0"\n')
    (root / "src" / "lib.rs").write_text("pub fn a() {}\n#[test]\nfn t() {}\n")
    return root


def said(host: Host, verb: str, root: Path, **env: str) -> str:
    """The message of a task that fails."""
    environment = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **env}
    outcome = host.task(verb, {"chdir": str(root), "locked": True, "offline": True}, environment=environment)
    assert outcome.failed
    assert "\n" not in outcome.msg
    return outcome.msg


def a_broken_manifest(root: Path) -> None:
    (root / "Cargo.toml").write_text(MANIFEST.replace('"1.0.0"', ""))


def two_workspaces(root: Path) -> None:
    (root / "Cargo.toml").write_text(MANIFEST + '[workspace]\nmembers = ["inner"]\n')
    (root / "inner" / "src").mkdir(parents=True)
    (root / "inner" / "src" / "lib.rs").write_text("")
    (root / "inner" / "Cargo.toml").write_text(MANIFEST.replace("small", "inner") + "[workspace]\n")


def no_lock(root: Path) -> None:
    (root / "Cargo.lock").unlink()


def a_syntax_error(root: Path) -> None:
    (root / "src" / "lib.rs").write_text("pub fn a( {}\n")


def no_workspace(root: Path) -> None:
    (root / "Cargo.toml").unlink()


@pytest.mark.parametrize("verb", ["cargo", "nextest"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (a_broken_manifest, "at Cargo.toml:3:11"),
        (two_workspaces, "multiple workspace roots found in the same workspace: "),
        (no_lock, "because --locked was passed"),
        (a_syntax_error, "at src/lib.rs:1:"),
        (no_workspace, "could not find `Cargo.toml`"),
    ],
)
def test_what_is_wrong_with_a_workspace_is_said_with_its_place(
    host: Host, root: Path, verb: str, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(root)
    assert words in said(host, verb, root)


def test_a_configuration_of_nextest_that_is_wrong_is_said_with_the_setting(host: Host, root: Path) -> None:
    (root / ".config").mkdir()
    (root / ".config" / "nextest.toml").write_text('[profile.default]\nretries = "many"\n')
    told = said(host, "nextest", root)
    assert ".config/nextest.toml" in told
    assert "profile.default.retries: invalid type" in told


def test_a_program_of_tests_that_lists_none_is_named(host: Host, root: Path) -> None:
    (root / "tests").mkdir()
    (root / "tests" / "own.rs").write_text('fn main() { println!("hello") }\n')
    (root / "Cargo.toml").write_text(MANIFEST + '[[test]]\nname = "own"\nharness = false\n')
    assert "small::own" in said(host, "nextest", root)


@pytest.mark.parametrize("verb", ["cargo", "nextest"])
@pytest.mark.skipif(shutil.which("rustup") is None, reason="rustup is not installed")
def test_a_toolchain_that_is_missing_is_named(host: Host, root: Path, verb: str) -> None:
    (root / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.2.3"\n')
    nowhere = {"RUSTUP_DIST_SERVER": "http://127.0.0.1:1", "RUSTUP_AUTO_INSTALL": "0"}
    assert "1.2.3" in said(host, verb, root, **nowhere)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with tinyfs(folder):
        again = subprocess.run(["mount", "-o", "remount,ro", str(folder)], capture_output=True, check=False)
        if again.returncode:
            raise MissingPart("mounting read-only is not permitted here")
        yield


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    with tinyfs(folder, 16):
        yield


@pytest.mark.parametrize("verb", ["cargo", "nextest"])
@pytest.mark.parametrize(("disk", "words"), [(read_only, "Read-only file system"), (full, "No space left on device")])
def test_a_target_folder_that_takes_nothing_is_said(
    host: Host, root: Path, verb: str, disk: Callable[[Path], contextlib.AbstractContextManager[None]], words: str
) -> None:
    with disk(root / "target"):
        told = said(host, verb, root)
    assert words in told
    assert "target" in told
