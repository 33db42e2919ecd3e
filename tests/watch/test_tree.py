"""Which files matter, and what is seen of their changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ciflow.diagnostics import Refused
from ciflow.watch import tree as trees
from ciflow.watch.tree import Look, Tree
from ciflow.watch.written import ALWAYS, Written


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for path in ("src/lib.rs", "target/debug/x", "node_modules/m/i.js", "README.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("one")
    return tmp_path


def names(found: object, folder: Path) -> set[str]:
    return {str(path)[len(str(folder)) + 1 :] for path in found}  # type: ignore[attr-defined]


def test_folders_of_builds_are_never_looked_at(project: Path) -> None:
    assert names(Tree([project]).look().files, project) == {"src/lib.rs", "README.md"}


def test_a_target_folder_of_another_name_is_known_by_its_tag(project: Path) -> None:
    """As cargo writes it with CARGO_TARGET_DIR."""
    (project / "out").mkdir()
    (project / "out" / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# by cargo\n")
    (project / "out" / "x").write_text("")
    (project / "kept").mkdir()
    (project / "kept" / "CACHEDIR.TAG").write_text("no such signature")
    assert names(Tree([project]).look().files, project) == {"src/lib.rs", "README.md", "kept/CACHEDIR.TAG"}


def test_what_editors_write_beside_a_file_is_none(project: Path) -> None:
    for name in (".lib.rs.swp", "lib.rs~", "4913", ".#lib.rs", "#lib.rs#"):
        (project / "src" / name).write_text("")
    assert names(Tree([project]).look().files, project) == {"src/lib.rs", "README.md"}


def test_every_way_to_write_a_file_is_seen_and_reading_it_is_not(project: Path) -> None:
    tree, file = Tree([project]), project / "README.md"
    before = tree.look()
    file.read_text()
    list(project.iterdir())
    assert tree.look().since(before) == ()
    for change in (
        lambda: file.write_text("truncated and written"),
        lambda: (project / "new").write_text("renamed over it") and (project / "new").replace(file),
        lambda: file.chmod(0o755),
        lambda: os.utime(file, (1, 1)),
        lambda: file.unlink(),
        lambda: file.write_text("it is back"),
    ):
        before = tree.look()
        change()
        assert names(tree.look().since(before), project) == {"README.md"}


def test_files_elsewhere_count_by_name_and_also_when_they_go(tmp_path: Path, project: Path) -> None:
    tree = Tree([project / "src"])
    tree.also([str(project / "README.md"), str(tmp_path / "not-yet")])
    before = tree.look()
    (project / "README.md").unlink()
    (tmp_path / "not-yet").write_text("")
    assert names(tree.look().since(before), project) == {"README.md", "not-yet"}
    assert str(tmp_path) in before.folders, "where an event would come from"


def test_links_that_lead_round_and_pipes_and_nowhere_are_no_harm(project: Path) -> None:
    (project / "round").symlink_to(project)
    (project / "nowhere").symlink_to(project / "gone")
    for name in ("pipe", ".gitignore", "src/CACHEDIR.TAG"):
        os.mkfifo(project / name)
    assert names(Tree([project]).look().files, project) == {"src/lib.rs", "README.md", "round"}


def test_any_name_that_a_file_can_have_is_told(project: Path) -> None:
    tree = Tree([project])
    before = tree.look()
    hostile = os.fsencode(project) + b"/\x1b]0;owned\x07\n\xff ::set-output"
    os.close(os.open(hostile, os.O_CREAT | os.O_WRONLY))
    assert tree.look().since(before) == (os.fsdecode(hostile),)


def test_a_folder_of_the_journal_in_the_project_is_left_out(project: Path) -> None:
    (project / "state").mkdir()
    (project / "state" / "journal.db").write_text("")
    assert names(Tree([project], [project / "state"]).look().files, project) == {"src/lib.rs", "README.md"}


def test_more_than_can_be_looked_at_is_refused_with_what_to_do(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST", 1)
    with pytest.raises(Refused, match="more than 1 files") as refused:
        Tree([project]).look()
    assert "--folder" in refused.value.help


def test_git_at_work_is_seen_by_its_lock(project: Path) -> None:
    (project / ".git").mkdir()
    tree = Tree([project])
    assert not tree.checked_out()
    (project / ".git" / "index.lock").write_text("")
    assert tree.checked_out()
    os.utime(project / ".git" / "index.lock", (1, 1))
    assert not tree.checked_out(), "left by a git that died"


# --- what a run writes itself ----------------------------------------------------------------------------


class Runs:
    """Runs one after the other, each with what was written while it went on."""

    def __init__(self) -> None:
        self.written = Written()
        self.now = Look({}, {})
        self.at = 0

    def write(self, *paths: str) -> Look:
        self.at += 1
        return Look({**self.now.files, **dict.fromkeys(paths, (self.at, 0, 0, 0))}, {})

    def run(self, *paths: str, told: tuple[str, ...] = ()) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What is taken for its own from now on, and what begins the next run."""
        self.written.began()
        for path in told:
            self.written.tell(path)
        before, self.now = self.now, self.write(*paths)
        return self.written.ended(before, self.now), self.written.others(before, self.now)

    def save(self, path: str) -> None:
        """While nothing runs."""
        self.now = self.write(path)
        self.written.idle([path])


def test_what_a_run_tells_that_it_wrote_begins_no_other() -> None:
    runs = Runs()
    assert runs.run("/p/out", "/p/lib.rs", told=("/p/out",)) == ((), ("/p/lib.rs",))
    assert runs.run("/p/out") == ((), ("/p/out",)), "only of the run that told it"


def test_what_changes_in_every_run_is_taken_for_written_by_it() -> None:
    runs = Runs()
    runs.save("/p/stamp")
    for _ in range(ALWAYS - 1):
        assert runs.run("/p/stamp") == ((), ("/p/stamp",))
    assert runs.run("/p/stamp") == (("/p/stamp",), ())
    assert runs.run("/p/stamp", "/p/lib.rs") == ((), ("/p/lib.rs",)), "said once, and others still count"


def test_logs_that_have_another_name_each_time_are_known_by_their_folder() -> None:
    runs = Runs()
    for number in range(ALWAYS - 1):
        assert runs.run(f"/p/log/{number}") == ((), (f"/p/log/{number}",))
    assert runs.run("/p/log/last") == (("/p/log/last",), ())
    assert runs.run("/p/log/another", "/p/new.rs") == ((), ("/p/new.rs",))


def test_a_run_in_which_it_did_not_change_begins_the_count_anew() -> None:
    runs = Runs()
    for changed in ([("/p/lib.rs",)] * (ALWAYS - 1) + [()]) * 3:
        assert runs.run(*changed)[0] == ()


def test_a_file_that_changes_while_nothing_runs_is_somebodys_after_all() -> None:
    runs = Runs()
    runs.save("/p/lib.rs")
    for _ in range(ALWAYS):
        runs.run("/p/lib.rs")
    runs.save("/p/lib.rs")
    assert runs.run("/p/lib.rs") == ((), ("/p/lib.rs",))
