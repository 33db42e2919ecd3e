"""`ciflow init`: the first files of a project, which run as they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import Shell

TESTED = "fn main() {}\n\n#[test]\nfn adds() {\n    assert_eq!(1 + 1, 2);\n}\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """With a home of its own; cargo and its toolchain stay where they are."""
    for name, folder in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
        monkeypatch.setenv(name, os.environ.get(name, str(Path.home() / folder)))
    return Shell(tmp_path)


def crate(folder: Path, manifest: str, **sources: str) -> None:
    """A crate without dependencies. Its lock file is what cargo makes of it."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    (folder / "Cargo.toml").write_text(manifest)
    for name, text in sources.items():
        path = folder / "src" / f"{name}.rs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=folder, check=True, capture_output=True)


def package(name: str, more: str = "") -> str:
    return f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n{more}'


def validated(shell: Shell, folder: str = ".") -> None:
    done = shell("validate", "--strict", f"{folder}/release.yml", "-i", f"{folder}/inventory.yml")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "nothing wrong" in done.stderr


def test_in_an_empty_folder_it_writes_what_validates_and_runs(shell: Shell) -> None:
    done = shell("init")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines()[-1] == "next: ciflow plan release.yml -i inventory.yml"
    assert (shell.folder / ".gitignore").read_text() == "/build/\n"
    validated(shell)
    assert shell("apply", "release.yml", "-i", "inventory.yml").returncode == 0
    assert (shell.folder / "build" / "in-place" / "release.txt").read_text() == "version 0.1.0\n"


def test_the_command_that_it_names_can_be_typed_as_it_stands(shell: Shell) -> None:
    """Also where the folder has a blank, and is made only now."""
    following = shell("init", "new one").stderr.splitlines()[-1].removeprefix("next: ")
    assert shell.sh(following).stdout.startswith("Build [build]  on localhost")
    validated(shell, "new one")


def test_nothing_that_was_there_is_overwritten(shell: Shell) -> None:
    for name, text in (("release.yml", "mine\n"), (".gitignore", "*.log")):
        (shell.folder / name).write_text(text)
    (shell.folder / "inventory.yml").symlink_to("nowhere.yml")
    done = shell("init")
    assert done.returncode == 0
    assert done.stderr.count("is there already, and stays") == 2
    assert (shell.folder / "release.yml").read_text() == "mine\n"
    assert not (shell.folder / "nowhere.yml").exists()
    assert (shell.folder / ".gitignore").read_text() == "*.log\n/build/\n"
    shell("init")
    assert (shell.folder / ".gitignore").read_text() == "*.log\n/build/\n", "a second time changes nothing"


def test_a_gitignore_that_leads_elsewhere_is_left_alone(shell: Shell) -> None:
    (shell.folder / "elsewhere").write_text("mine\n")
    (shell.folder / ".gitignore").symlink_to("elsewhere")
    assert "is a link, and stays" in shell("init").stderr
    assert (shell.folder / "elsewhere").read_text() == "mine\n"


def test_a_rust_workspace_gets_its_own_programs_tested_built_and_listed(shell: Shell) -> None:
    members = shell.folder / "tool"
    members.mkdir()
    crate(members, package("tool", '[[bin]]\nname = "on"\npath = "src/on.rs"\n'), main=TESTED, on="fn main() {}\n")
    crate(shell.folder, package("two-words", '[workspace]\nmembers = ["tool"]\n'), main="fn main() {}\n")
    assert shell("init").returncode == 0
    validated(shell)
    told = shell("plan", "release.yml", "-i", "inventory.yml", "--json").stdout
    planned = [json.loads(row) for row in told.splitlines()]
    assert [one["id"] for one in planned if one["id"].startswith("build")] == [
        "build[bin=on]", "build[bin=tool]", "build[bin=two-words]",
    ]  # fmt: skip
    text = (shell.folder / "release.yml").read_text()
    assert "nextest: {" in text and "locked: true" in text
    assert (shell.folder / ".gitignore").read_text() == "/target/\n"


@pytest.mark.slow
def test_what_it_writes_for_a_rust_program_runs_to_its_end(shell: Shell) -> None:
    crate(shell.folder, package("hello"), main=TESTED)
    shell("init")
    done = shell("apply", "release.yml", "-i", "inventory.yml")
    assert done.returncode == 0, done.stderr
    assert "artifact hello" in done.stderr
    assert sorted(path.name for path in (shell.folder / "target" / "sbom").iterdir())[0].startswith("hello")


def test_a_library_without_tests_is_built_and_none_are_missed(shell: Shell) -> None:
    crate(shell.folder, package("quiet"), lib="pub fn one() -> u8 {\n    1\n}\n")
    (shell.folder / ".gitignore").write_text("target\nCargo.lock\n")
    done = shell("init")
    assert done.returncode == 0
    validated(shell)
    text = (shell.folder / "release.yml").read_text()
    assert "cargo: {command: test, " in text and "artifacts" not in text and "nextest" not in text
    assert (shell.folder / ".gitignore").read_text() == "target\nCargo.lock\n"


def test_a_part_of_a_workspace_is_sent_to_the_whole(shell: Shell) -> None:
    part = shell.folder / "part"
    part.mkdir()
    (shell.folder / "Cargo.toml").write_text('[workspace]\nmembers = ["part"]\nresolver = "2"\n')
    crate(part, package("part"), main="fn main() {}\n")
    done = shell("init", "part")
    assert done.returncode == 3
    assert f"ciflow init {shell.folder}" in done.stderr
    assert not (part / "release.yml").exists()


def test_a_manifest_that_cargo_cannot_read_is_said_in_its_words(shell: Shell) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not installed")
    (shell.folder / "Cargo.toml").write_text("[package\n")
    done = shell("init")
    assert done.returncode == 3
    assert "cargo can't read Cargo.toml" in done.stderr and "Traceback" not in done.stderr
    assert not (shell.folder / "release.yml").exists()


def test_a_folder_that_cannot_be_written_is_said_in_one_line(shell: Shell) -> None:
    (shell.folder / "file").write_text("")
    done = shell("init", "file/below")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "can't be written" in done.stderr
