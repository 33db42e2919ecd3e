"""Plays that say `affected`: run where what they are made from has changed, and not twice with the same inputs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engine.playing import Bench

pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed"),
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed"),
]
PACKAGE = '[package]\nname = "{name}"\nversion = "1.0.0"\nedition = "2021"\n'
SITE = """
- name: Test
  hosts: localhost
  affected: {affected}
  tasks: [{name: test, shell: "echo ran >> {here}/out/log"}]
"""


class Checkout(Bench):
    """Beside the playbook a workspace in git: `site` needs `rules`, and `other` nothing."""

    def make(self) -> None:
        for name in ("rules", "site", "other"):
            needs = '[dependencies]\nrules = { path = "../rules" }\n' if name == "site" else ""
            self.file(f"{name}/src/lib.rs", "")
            self.file(f"{name}/Cargo.toml", PACKAGE.format(name=name) + needs)
        self.file("Cargo.toml", '[workspace]\nresolver = "2"\nmembers = ["rules", "site", "other"]\n')
        self.file(".gitignore", "/*\n!/rules\n!/site\n!/other\n!/Cargo.*\n!/docs\n")
        self.done("cargo", "generate-lockfile", "--offline")
        self.done("git", "init", "-q", "-b", "main")
        self.commit()

    def done(self, *words: str) -> None:
        subprocess.run(words, cwd=self.folder, check=True, capture_output=True)

    def commit(self) -> None:
        self.done("git", "add", "-A")
        self.done("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one")

    def edit(self, path: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write("// more\n")

    def test(self, affected: str = "true", **options: bool) -> dict[str, Any]:
        """How the play ended."""
        return dict(self.play(SITE.replace("{affected}", affected), options=options).of("play_ended")[-1].data)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    for name, folder in (("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")):
        monkeypatch.setenv(name, os.environ.get(name, str(Path.home() / folder)))
    monkeypatch.delenv("CI", raising=False)
    found = Checkout(tmp_path)
    found.make()
    return found


def test_a_play_that_passed_is_run_again_only_when_something_that_it_is_made_from_changes(checkout: Checkout) -> None:
    assert checkout.test("site")["result"] == "ok"
    again = checkout.test("site")
    assert again["result"] == "cached"
    assert re.fullmatch(r"passed with the same inputs in R-1-\w+", again["reason"])
    checkout.edit("other/src/lib.rs")
    assert checkout.test("site")["result"] == "cached", "site doesn't need it"
    checkout.edit("rules/src/lib.rs")
    assert checkout.test("site")["result"] == "ok", "site needs it"
    checkout.commit()
    assert checkout.test("site")["result"] == "cached", "the same text, committed"
    assert checkout.test("site", no_skip=True)["result"] == "ok"
    assert checkout.test("{crates: site, inputs: ['docs/*']}")["result"] == "ok", "the playbook is another"
    checkout.file("docs/a.md", "a")
    assert checkout.test("{crates: site, inputs: ['docs/*']}")["result"] == "ok"
    assert checkout.test("{crates: site, inputs: ['docs/*']}")["result"] == "cached"


def test_flags_and_toolchain_and_variables_of_the_command_line_are_inputs(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extra(value: str) -> str:
        return checkout.play(SITE.replace("{affected}", "true"), extra=[f"level={value}"]).plays()["Test"]

    assert [extra("1"), extra("2"), extra("1")] == ["ok", "ok", "cached"]
    monkeypatch.setenv("RUSTFLAGS", "-C debuginfo=0")
    assert extra("1") == "ok"
    monkeypatch.delenv("RUSTFLAGS")
    assert extra("1") == "cached"
    checkout.file(".cargo/config.toml", "[build]\njobs = 1\n")
    checkout.done("git", "add", "-f", ".cargo")
    assert extra("1") == "ok"


def test_what_fails_or_what_changes_its_own_inputs_is_run_again(checkout: Checkout) -> None:
    bad = SITE.replace("{affected}", "true").replace("echo ran >> {here}/out/log", "exit 1")
    assert [checkout.play(bad).plays()["Test"] for _ in range(2)] == ["failed", "failed"]
    edits = SITE.replace("{affected}", "true").replace("echo ran >> {here}/out/log", "echo >> {here}/rules/src/lib.rs")
    played = checkout.play(edits)
    assert played.plays()["Test"] == "ok"
    assert "its inputs changed while it ran" in str(played.of("warning")[-1].data["message"])
    assert checkout.play(edits).plays()["Test"] == "ok"
    assert checkout.test(check=True)["result"] == "ok"
    assert checkout.test()["result"] == "ok", "a prediction is no pass"


def test_what_a_play_left_is_there_for_those_after_it_though_it_was_not_run(checkout: Checkout) -> None:
    pipeline = """
        - name: Build
          hosts: localhost
          affected: true
          tasks: [{shell: "date +%N > {here}/out/thing; echo 7", register: built}]
          outputs: {level: "{{ built.stdout }}"}
          artifacts: [{name: thing, path: "{here}/out/thing"}]
        - name: Ship
          hosts: localhost
          tasks: [{name: ship, artifact: {name: thing, dest: "{here}/out/shipped"}},
                  {debug: {msg: "{{ plays.build.outputs.level }}"}}]
    """
    first = checkout.play(pipeline)
    text = (checkout.out / "shipped").read_text()
    (checkout.out / "shipped").unlink()
    second = checkout.play(pipeline)
    assert (first.plays()["Build"], second.plays()["Build"]) == ("ok", "cached")
    assert second.errors() == ""
    assert (checkout.out / "shipped").read_text() == text
    assert [event.data["name"] for event in second.of("artifact")] == ["thing"]
    assert second.of("task_ended")[-1].data["msg"] == "7"
    for blob in checkout.store.rglob("*"):
        if blob.is_file() and blob.read_bytes() == text.encode():
            blob.unlink()
    assert checkout.play(pipeline).plays()["Build"] == "ok", "what it left is gone"


def test_on_a_branch_a_play_is_skipped_where_nothing_that_it_names_is_touched(checkout: Checkout) -> None:
    checkout.done("git", "switch", "-qc", "work")
    checkout.edit("rules/src/lib.rs")
    checkout.commit()
    skipped = checkout.test("other")
    assert (skipped["result"], skipped["reason"]) == ("skipped", "nothing that it is made from has changed since main")
    assert checkout.test("site")["result"] == "ok"
    assert checkout.test("other", no_skip=True)["result"] == "ok"
    assert checkout.test("{crates: other, base: work}")["result"] == "skipped"
    assert checkout.test('{crates: \'{{ ["si", "te"] | join }}\', base: main~0}')["result"] == "ok"


def test_a_template_may_choose_crates_or_switch_it_off(checkout: Checkout) -> None:
    assert checkout.test('"{{ not true }}"')["result"] == "ok"
    assert checkout.test('"{{ not true }}"')["result"] == "ok"
    assert [checkout.test('"{{ not false }}"')["result"] for _ in range(2)] == ["ok", "cached"]


def test_a_file_that_is_ignored_and_read_all_the_same_counts(checkout: Checkout) -> None:
    checkout.file("other/README.md", "a")
    checkout.file("other/NOTES.md", "a")
    checkout.file("other/src/lib.rs", '#![doc = include_str!("../README.md")]\n')
    affected = "{crates: other, ignore: ['*.md']}"
    assert [checkout.test(affected)["result"] for _ in range(2)] == ["ok", "cached"]
    checkout.edit("other/NOTES.md")
    assert checkout.test(affected)["result"] == "cached"
    checkout.edit("other/README.md")
    assert checkout.test(affected)["result"] == "ok"


def test_a_crate_that_is_not_there_and_a_folder_without_a_workspace_are_errors_at_the_play(checkout: Checkout) -> None:
    played = checkout.play(SITE.replace("{affected}", "sight"))
    assert (played.exit, played.plays()["Test"]) == (4, "failed")
    assert "the workspace has no package sight; it has other, rules, site" in played.errors()
    (checkout.folder / "empty").mkdir()
    nowhere = checkout.play(SITE.replace("{affected}", "{folder: /}"))
    assert "could not find `Cargo.toml`" in nowhere.errors()


def test_a_run_that_is_resumed_goes_the_way_it_went_before(checkout: Checkout) -> None:
    both = SITE.replace("{affected}", "true")
    both += "- {name: After, hosts: localhost, tasks: [{command: test -e {here}/go}]}\n"
    first = checkout.play(both)
    assert first.plays() == {"Test": "ok", "After": "failed"}
    second = checkout.play(both)
    assert second.plays() == {"Test": "cached", "After": "failed"}
    checkout.edit("rules/src/lib.rs")
    checkout.file("go", "")
    resumed = checkout.resume(second.run)
    assert resumed.plays() == {"After": "ok"}
    assert resumed.exit == 0
