"""A target folder kept for checkouts that are made anew, against what cargo compiles where it goes on in place."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.cargo.workspaces import Workspace
from tests.modules.host import Host
from tests.parts.tinyfs import tinyfs

CHECK = {"command": "check", "workspace": True, "all_targets": True, "keep": True}
pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
    pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed"),
]


class Ground:
    """A workspace that is built with `keep`, and the folder that is kept."""

    def __init__(self, host: Host, folder: Path, seed: int) -> None:
        self.host, self.workspace = host, Workspace(folder, Random(seed))
        self.root, self.aside, self.cache = self.workspace.root, folder / "aside", folder / "cache"
        self.env = {"CARGO_HOME": self.workspace.env["CARGO_HOME"], "XDG_CACHE_HOME": str(self.cache)}
        self.env["CARGO_NET_OFFLINE"] = "true"

    def check(self) -> Mapping[str, Any]:
        outcome = self.host.task("cargo", {**CHECK, "chdir": str(self.root), "env": self.env})
        assert not outcome.failed, f"{outcome.msg} {outcome.data.get('stderr')}"
        return outcome.data

    def kept(self) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.check()["kept"]
        return told

    def checked_out_anew(self) -> None:
        """As `git clone` leaves it: nothing built, and no file older than that."""
        shutil.rmtree(self.root / "target")
        for folder, folders, files in os.walk(self.root):
            folders[:] = [one for one in folders if one != ".git"]
            for name in files:
                os.utime(Path(folder, name), follow_symlinks=False)

    def goes_on(self) -> set[str]:
        """What cargo does where it goes on with what is there."""
        begun = time.time_ns()
        env = {**self.workspace.env, **self.env, "CARGO_INCREMENTAL": "0"}
        words = ("cargo", "check", "--workspace", "--all-targets", "-q")
        subprocess.run(words, cwd=self.root, env=env, check=True, capture_output=True)
        return self.made_since(begun)

    def made_since(self, begun: int) -> set[str]:
        """Compilations, and runs of build scripts: folders in which cargo notes when it began one."""
        built = self.root / "target" / "debug"
        marks = [*built.glob(".fingerprint/*/invoked.timestamp"), *built.glob("build/*/invoked.timestamp")]
        return {f"{one.parent.parent.name}/{one.parent.name}" for one in marks if one.stat().st_mtime_ns >= begun}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_checkout_made_anew_is_compiled_as_one_that_was_edited(host: Host, tmp_path: Path, seed: int) -> None:
    """Each case: a change, what cargo compiles where it was edited in, and what in a new checkout with it."""
    ground = Ground(host, tmp_path, seed)
    workspace, needed, compiled, every = ground.workspace, 0, 0, 0
    assert ground.kept()["left"]
    for number in range(8):
        changes = [workspace.change() for _ in range(workspace.random.choice([1, 1, 1, 2]))]
        workspace.write()
        workspace.run("cargo", "update", "--workspace", "-q")
        shutil.copytree(ground.root, ground.aside, symlinks=True)
        really = ground.goes_on()
        shutil.rmtree(ground.root)
        shutil.move(ground.aside, ground.root)
        ground.checked_out_anew()
        begun = time.time_ns()
        told = ground.kept()
        anew = ground.made_since(begun)
        assert told["taken"], told
        assert really <= anew, f"{number} {changes}: {really - anew}"
        needed, compiled, every = needed + len(really), compiled + len(anew), every + len(ground.made_since(0))
        workspace.commit()
    print(f"seed {seed}: {needed} of {every} were compiled in place, {compiled} in new checkouts")
    assert compiled < every


class Small:
    """One crate, whose program is run with `keep`; `say` is its main function's text."""

    def __init__(self, host: Host, root: Path, cache: Path) -> None:
        self.host, self.root = host, root
        self.env = {"XDG_CACHE_HOME": str(cache)}
        self.file("Cargo.toml", '[package]\nname = "small"\nversion = "1.0.0"\nedition = "2021"\n')
        self.file(".gitignore", "/target\n/made\n")
        self.file("Cargo.lock", 'version = 4\n\n[[package]]\nname = "small"\nversion = "1.0.0"\n')

    def file(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def commit(self) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0")
        for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "--allow-empty", "-m", "as it is")):
            subprocess.run(("git", *words), cwd=self.root, check=True)

    def anew(self) -> None:
        """As `git clone` leaves it."""
        shutil.rmtree(self.root / "target")
        for path in self.root.rglob("*"):
            if ".git" not in path.parts:
                os.utime(path)

    def run(self) -> tuple[str, Mapping[str, Any]]:
        args = {"command": "run", "keep": True, "chdir": str(self.root), "offline": True, "env": self.env}
        outcome = self.host.task("cargo", args)
        assert not outcome.failed, outcome.data.get("stderr")
        return outcome.data["stdout"], outcome.data["kept"]


@pytest.fixture
def small(host: Host, tmp_path: Path) -> Small:
    return Small(host, tmp_path / "small", tmp_path / "cache")


def test_what_git_ignores_is_never_taken_for_what_it_was(small: Small) -> None:
    small.file("src/main.rs", 'fn main() { println!("{}", include_str!("../made/it.txt")) }\n')
    small.file("made/it.txt", "one")
    small.commit()
    assert small.run()[0] == "one"
    small.anew()
    small.file("made/it.txt", "two")
    os.utime(small.root / "made" / "it.txt", (1e9, 1e9))
    said, kept = small.run()
    assert kept["taken"]
    assert said == "two"


def test_a_build_script_that_watches_all_files_misses_none_that_is_gone(small: Small) -> None:
    small.file("src/main.rs", 'fn main() { println!("{}", env!("COUNTED")) }\n')
    count = 'std::fs::read_dir("words").unwrap().count()'
    small.file("build.rs", f'fn main() {{ println!("cargo::rustc-env=COUNTED={{}}", {count}) }}\n')
    for name in ("one", "two"):
        small.file(f"words/{name}", name)
    small.commit()
    assert small.run()[0] == "2"
    small.anew()
    (small.root / "words" / "two").unlink()
    small.commit()
    said, kept = small.run()
    assert kept["taken"]
    assert said == "1"


def test_a_build_goes_on_where_what_was_kept_is_broken(small: Small) -> None:
    small.file("src/main.rs", 'fn main() { println!("well") }\n')
    small.commit()
    assert small.run()[1]["left"]
    (archive,) = (Path(small.env["XDG_CACHE_HOME"]) / "ciflow" / "rust" / "kept").iterdir()
    archive.write_bytes(archive.read_bytes()[:1000])
    small.anew()
    said, kept = small.run()
    assert said == "well"
    assert not kept["taken"]
    assert "can't be unpacked" in kept["why"]
    assert kept["left"], "a whole one takes its place"


def test_a_full_disk_keeps_nothing_and_the_build_goes_on(small: Small, tmp_path: Path) -> None:
    small.file("src/main.rs", 'fn main() { println!("well") }\n')
    small.commit()
    with tinyfs(tmp_path / "full") as full:
        small.env["XDG_CACHE_HOME"] = str(full)
        said, kept = small.run()
        left = [path for path in full.rglob("*") if path.is_file()]
    assert said == "well"
    assert not kept["left"]
    assert "can't be packed" in kept["lost"]
    assert not left, "nothing half done"


def test_crates_outside_of_the_checkout_are_not_kept(small: Small) -> None:
    small.file("src/main.rs", 'fn main() { println!("{}", beside::WORD) }\n')
    small.file("Cargo.toml", (small.root / "Cargo.toml").read_text() + '[dependencies.beside]\npath = "../beside"\n')
    small.file("../beside/Cargo.toml", '[package]\nname = "beside"\nversion = "1.0.0"\nedition = "2021"\n')
    small.file("../beside/src/lib.rs", 'pub const WORD: &str = "one";\n')
    small.commit()
    said, kept = small.run()
    assert said == "one"
    assert not kept["left"]
    assert "lies outside the checkout" in kept["lost"]
