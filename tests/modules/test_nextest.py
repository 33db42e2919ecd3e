"""nextest for real: what gates, what is tried again, shards that miss nothing, tests packed here and run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ciflow.model import Outcome
from tests.modules.host import Host

BIN = str(Path(sys.executable).parent)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(not Path(BIN, "cargo-nextest").exists(), reason="cargo-nextest is not installed: make parts"),
]
# `shaky` fails on every other attempt: it counts them in a file.
LIBRARY = """
/// ```
/// assert_eq!(shop::one(), 1);
/// ```
pub fn one() -> u32 { 1 }
#[cfg(test)]
mod tests {
    use std::{env, fs, thread, time::Duration};
    #[test] fn a() {}
    #[test] fn b() {}
    #[test] fn c() { thread::sleep(Duration::from_millis(300)); }
    #[test] fn shaky() {
        let path = env::var("COUNT").unwrap();
        let count = fs::read_to_string(&path).map_or(0, |text| text.parse().unwrap());
        fs::write(&path, format!("{}", count + 1)).unwrap();
        assert!(count % 2 == 1, "attempt {count}");
    }
    #[test] fn hangs() { if env::var("HANG").is_ok() { thread::sleep(Duration::from_secs(60)); } }
}
"""
QUARANTINE = """
[[quarantined]]
test = "shop tests::shaky"
owner = "ada"
reason = "#12"
since = 2026-11-20
expires = 2026-12-04
"""
NOW = 1_795_600_000.0  # 2026-11-25
DAY = 86_400


class Project:
    """The workspace, its host, and the environment that its tests see."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host, self.root = host, root
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.env = {"PATH": path, "COUNT": str(root / "count")}

    def test(self, now: float = NOW, env: Mapping[str, str] | None = None, **args: Any) -> Outcome:
        whole = {"chdir": str(self.root), "offline": True, "doctests": False, **args}
        return self.host.task("nextest", whole, environment={**self.env, **(env or {})}, now=now)

    @property
    def results(self) -> dict[str, str]:
        """The attempts of every test that the last task put into the history."""
        notes = [note for note in self.host.noted if note.kind == "tests"]
        return {name: result[0] for note in notes for name, result in note.data["results"].items()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shop")
    (root / "src").mkdir()
    (root / "Cargo.toml").write_text('[package]\nname = "shop"\nversion = "1.0.0"\nedition = "2021"\n')
    (root / "src" / "lib.rs").write_text(LIBRARY)
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def project(host: Host, built: Path) -> Project:
    """As it was at the beginning, but for what is compiled."""
    shutil.rmtree(built / ".config", ignore_errors=True)
    (built / "count").unlink(missing_ok=True)
    return Project(host, built)


def quarantined(project: Project) -> None:
    (project.root / ".config").mkdir()
    (project.root / ".config" / "quarantine.toml").write_text(QUARANTINE)


def test_a_failing_test_gates_and_only_one_that_is_judged_flaky_is_tried_again(project: Project) -> None:
    outcome = project.test()
    assert outcome.failed
    assert outcome.data["failed_tests"] == ["shop tests::shaky"]
    (project.root / "count").unlink()
    again = project.test(flaky=["shop tests::shaky", "shop tests::was_renamed"], doctests=True)
    assert not again.failed, again.msg
    assert again.data["flaky"] == ["shop tests::shaky"]
    assert again.data["doctests"] == 1
    assert project.results["shop tests::shaky"] == "FP"


def test_a_quarantined_test_runs_and_does_not_gate_until_its_time_is_over(project: Project) -> None:
    quarantined(project)
    outcome = project.test()
    assert not outcome.failed, outcome.msg
    assert outcome.data["tests"] == 4
    assert outcome.data["quarantined"] == {"tests": 1, "failed_tests": ["shop tests::shaky"]}
    assert project.results["shop tests::shaky"] == "F", "its history goes on"
    (project.root / "count").unlink()
    late = project.test(now=NOW + 9 * DAY)
    assert late.failed
    assert "no longer in quarantine: shop tests::shaky" in late.msg


@pytest.mark.parametrize("seconds", [{}, {"shop tests::c": 0.3, "shop tests::a": 0.01}])
def test_shards_together_run_every_test_once(project: Project, seconds: dict[str, float]) -> None:
    (project.root / "count").write_text("1")
    ran: list[str] = []
    for shard in (1, 2):
        outcome = project.test(shard=shard, shards=2, seconds=seconds)
        assert not outcome.failed, outcome.msg
        ran += project.results
    assert sorted(ran) == [f"shop tests::{name}" for name in ("a", "b", "c", "hangs", "shaky")]


def test_packed_tests_run_where_nothing_was_built(project: Project, tmp_path: Path) -> None:
    (project.root / "count").write_text("1")
    packed = project.test(archive=str(tmp_path / "tests.tar.zst"))
    assert packed.changed and not packed.failed, packed.msg
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project.root, elsewhere, ignore=shutil.ignore_patterns("target"))
    there = Project(project.host, elsewhere)
    (elsewhere / "count").write_text("1")
    outcome = there.test(archive_from=str(tmp_path / "tests.tar.zst"))
    assert not outcome.failed, outcome.msg
    assert outcome.data["passed"] == 5
    assert not list((elsewhere / "target").glob("debug/deps/*")), "compiled again"


def test_a_test_that_hangs_is_ended_and_the_others_are_told(project: Project) -> None:
    (project.root / "count").write_text("1")
    outcome = project.test(env={"HANG": "1"}, slow_after=0.5, terminate_after=2)
    assert outcome.failed
    assert outcome.data["failed_tests"] == ["shop tests::hangs"]
    assert (outcome.data["passed"], project.results["shop tests::hangs"]) == (4, "T")


def test_the_workspace_s_own_configuration_goes_before_ours(project: Project) -> None:
    (project.root / ".config").mkdir()
    own = "[profile.default]\nretries = 1\n"
    tomllib.loads(own)
    (project.root / ".config" / "nextest.toml").write_text(own)
    outcome = project.test()
    assert not outcome.failed, outcome.msg
    assert outcome.data["flaky"] == ["shop tests::shaky"]


def test_the_commit_is_told_and_a_change_in_the_checkout_is_another(project: Project) -> None:
    (project.root / "count").write_text("1")

    def git(*words: str) -> str:
        whole = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
        return subprocess.run(whole, cwd=project.root, check=True, capture_output=True, text=True).stdout.strip()

    def commit() -> str:
        project.test(filter="test(=tests::a)")
        return next(str(note.data["commit"]) for note in project.host.noted if note.kind == "tests")

    git("init", "-q")
    git("add", "Cargo.toml", "src")
    git("commit", "-qm", "all")
    clean = commit()
    assert clean == git("rev-parse", "HEAD")
    source = project.root / "src" / "lib.rs"
    before = source.read_text()
    source.write_text(before + "\n// changed\n")
    changed = commit()
    source.write_text(before)
    shutil.rmtree(project.root / ".git")
    assert changed.startswith(f"{clean}+")


MEMBER = """
/// ```
/// assert_eq!({name}::one(), 1);
/// ```
///
/// ```
/// assert_eq!({name}::one(), 2);
/// ```
/// ```no_run
/// {name}::one();
/// ```
pub fn one() -> u32 {{ 1 }}
#[test] fn well() {{ println!("test bad ... ok"); }}
#[test] fn bad() {{ panic!("no") }}
#[test] #[should_panic] fn panics() {{ panic!() }}
#[test] #[ignore = "slow"] fn later() {{}}
"""
SAME_NAMES = {"src/main.rs": "fn main() {} #[test] fn well() {}", "tests/server.rs": "#[test] fn answers() {}",
              "examples/shown.rs": "fn main() {} #[test] fn well() {}",
              "tests/own.rs": 'fn main() { println!("running things") }'}  # fmt: skip


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages whose programs of tests have the same names, one of which goes without libtest."""
    root = tmp_path_factory.mktemp("twins")
    (root / "Cargo.toml").write_text('[workspace]\nresolver = "2"\nmembers = ["a", "b"]\n')
    for name in ("a", "b"):
        files = {**SAME_NAMES, "src/lib.rs": MEMBER.format(name=f"twin_{name}")}
        for path, content in files.items():
            (root / name / path).parent.mkdir(parents=True, exist_ok=True)
            (root / name / path).write_text(content)
        (root / name / "Cargo.toml").write_text(
            f'[package]\nname = "twin-{name}"\nversion = "1.0.0"\nedition = "2021"\n'
            '[[test]]\nname = "own"\nharness = false\n[[example]]\nname = "shown"\ntest = true\n'
        )
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=root, check=True, capture_output=True)
    return root


def test_cargo_test_alone_leaves_the_history_that_nextest_leaves(host: Host, twins: Path) -> None:
    """But for what goes without libtest; and the examples, which have it with both."""
    whole = Project(host, twins)
    whole.test(filter="not binary(own)")  # of programs without libtest nextest can't list the tests
    from_nextest = whole.results
    alone = Project(host, twins)
    alone.env = {"PATH": without_nextest()}
    outcome = alone.test()
    assert "cargo test ran" in outcome.msg
    assert outcome.data["runner"] == "cargo test"
    examples = {f"twin-{n}::doc {n}/src/lib.rs - one{nth}": letter
                for n in "ab" for nth, letter in (("", "P"), (" (2)", "F"), (" (3)", "P"))}  # fmt: skip
    assert from_nextest["twin-a bad"] == "F"
    assert alone.results == from_nextest | examples
    named = {f"twin-{n} bad" for n in "ab"} | {f"twin-{n}::doc {n}/src/lib.rs - one (line 6)" for n in "ab"}
    assert set(outcome.data["failed_tests"]) == named
    plain = host.task("cargo", {"command": "test", "workspace": True, "offline": True, "chdir": str(twins),
                                "args": ["--no-fail-fast"]}, environment=alone.env)  # fmt: skip
    assert plain.failed
    assert alone.results == from_nextest | examples, "and with the verb cargo"


def without_nextest() -> str:
    """A PATH with all that this one has but cargo-nextest."""
    found = [part for part in os.environ["PATH"].split(os.pathsep) if not Path(part, "cargo-nextest").exists()]
    if shutil.which("cargo", path=os.pathsep.join(found)) is None:
        pytest.skip("cargo and cargo-nextest lie in one folder")
    return os.pathsep.join(found)


def test_only_a_test_that_is_judged_flaky_is_tried_again_under_cargo_test_either(project: Project) -> None:
    project.env["PATH"] = without_nextest()
    assert project.test().failed
    (project.root / "count").unlink()
    again = project.test(flaky=["shop tests::shaky", "shop tests::was_renamed"], fail_fast=True)
    assert not again.failed, again.msg
    assert "1 of them only when tried again: shop tests::shaky" in again.msg
    assert again.data["flaky"] == ["shop tests::shaky"]
    assert (again.data["passed"], again.data["failures"]) == (6, 0), "five tests and an example"
    assert project.results["shop tests::shaky"] == "FP"
    (project.root / "count").unlink()
    assert project.test(flaky=["shop tests::a"]).data["failed_tests"] == ["shop tests::shaky"]
    assert project.results["shop tests::shaky"] == "F"


def test_a_quarantined_test_does_not_gate_under_cargo_test_either(host: Host, twins: Path) -> None:
    held = "".join(
        f'[[quarantined]]\ntest = "{test}"\nowner = "ada"\nreason = "#1"\nsince = 2026-11-20\nexpires = 2026-12-04\n'
        for n in "ab" for test in (f"twin-{n} bad", f"twin-{n}::doc {n}/src/lib.rs - one (2)")
    )  # fmt: skip
    (twins / ".config").mkdir()
    (twins / ".config" / "quarantine.toml").write_text(held)
    project = Project(host, twins)
    project.env = {"PATH": without_nextest()}
    outcome = project.test()
    assert not outcome.failed, outcome.msg
    assert sorted(outcome.data["quarantined"]["failed_tests"]) == sorted(
        test for n in "ab" for test in (f"twin-{n} bad", f"twin-{n}::doc {n}/src/lib.rs - one (2)")
    )
    own = twins / "b" / "tests" / "own.rs"
    own.write_text("fn main() { std::process::exit(1) }")
    gated = project.test(fail_fast=True)
    own.write_text(SAME_NAMES["tests/own.rs"])
    late = project.test(now=NOW + 9 * DAY)
    shutil.rmtree(twins / ".config")
    assert gated.failed, "a program without libtest failed, too"
    assert late.failed
    assert "no longer in quarantine" in late.msg
