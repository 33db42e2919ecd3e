"""`ciflow affected` on a checkout with two crates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import Shell

pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]
HOME = Path(os.environ.get("HOME", "/"))
TOOLS = {name: os.environ.get(name, str(HOME / folder)) for name, folder in
         (("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo"))}  # fmt: skip
PACKAGE = '[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n'


class Checkout(Shell):
    """A workspace in git, on main: `site` needs `rules`."""

    def make(self) -> None:
        for name, needs in (("rules", ""), ("site", '[dependencies]\nrules = { path = "../rules" }\n')):
            (self.folder / name / "src").mkdir(parents=True)
            (self.folder / name / "src" / "lib.rs").write_text("")
            (self.folder / name / "Cargo.toml").write_text(PACKAGE.format(name=name) + needs)
        (self.folder / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["rules", "site"]\n')
        (self.folder / ".gitignore").write_text("/home\n/state\n/target\n")
        self.done("cargo", "generate-lockfile", "--offline")
        self.done("git", "init", "-q", "-b", "main")
        self.commit()

    def done(self, *words: str) -> None:
        subprocess.run(words, cwd=self.folder, check=True, capture_output=True)

    def commit(self) -> None:
        self.done("git", "add", "-A")
        self.done("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")

    def change(self, name: str) -> None:
        (self.folder / name / "src" / "lib.rs").write_text("pub fn more() {}\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    (tmp_path / "home").mkdir()
    found = Checkout(tmp_path)
    found.make()
    return found


def test_crates_that_a_branch_touches_are_named_and_each_says_why(checkout: Checkout) -> None:
    checkout.done("git", "switch", "-qc", "work")
    checkout.change("rules")
    checkout.commit()
    told = checkout("affected", **TOOLS)
    assert told.stdout.splitlines() == ["rules", "site"], told.stderr
    why = checkout("affected", "--why", "site", **TOOLS).stdout.splitlines()
    assert why == ["rules: rules/src/lib.rs has changed", "  site needs rules"]
    data = json.loads(checkout("affected", "--json", "--base", "work", **TOOLS).stdout)
    assert (data["crates"], data["base"], data["members"]) == ([], "work", 2)


def test_a_crate_that_nothing_touches_and_a_base_that_nobody_knows_are_told(checkout: Checkout) -> None:
    checkout.change("site")
    told = checkout("affected", **TOOLS)
    assert told.stdout.splitlines() == ["site"], f"not committed yet: {told.stderr}"
    untouched = checkout("affected", "--why", "rules", **TOOLS)
    assert (untouched.returncode, "rules is not touched: 1 of 2 crates" in untouched.stderr) == (3, True)
    unknown = checkout("affected", "--base", "nowhere", **TOOLS)
    assert unknown.stdout.splitlines() == ["rules", "site"]
    assert "all 2 crates count as touched: git can't say what changed" in unknown.stderr
    in_ci = checkout("affected", CI="true", **TOOLS)
    assert "HEAD is main already" in in_ci.stderr
