"""What counts as a source, held equal to what git itself says of patterns."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ciflow.watch.ignore import read
from ciflow.watch.tree import Tree

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
PATHS = (
    "a", "a.txt", "b/a", "b/a.txt", "b/c/a", "b/c/d.log", "b/c.log", "c.log", "d/e/f/g", "doc/x.pdf", "doc/y/z.pdf",
    "x y", "x ", "#h", "!bang", "[a]", "back\\slash", "deep/a/b/c/a", "ab", "abc", "A",
)  # fmt: skip
PATTERNS = (
    "a", "/a", "b/", "b/*", "*.log", "!c.log", "**/a", "b/**", "d/**/g", "doc/*.pdf", "doc/**/*.pdf", "a?", "[ab]*",
    "[!a]*", "[a-c]", r"\#h", r"\!bang", "x\\ ", "x ", "x y", "# a", "", "  ", "b/c/", "/b/c", "*", "!*/", "!a",
    "*a*", "*b*a*c*", "a*/*/*.txt", "?*.*?",
    r"\[a\]", r"back\\slash", "[[:upper:]]", "deep/**", "!deep/a", "/*", "!/b", "abc/", "**", "***", "b/**/a", "[",
    "a\\",     "/", "//", "**/b/c/**", "d/*/f", "?", "[]a]", "!**/a/", "a**", "**c",
)  # fmt: skip


def by_git(folder: Path) -> set[str]:
    """Files that are sources, as git lists what is untracked and not ignored."""
    words = ("git", "-c", "core.excludesFile=/dev/null", "ls-files", "-o", "--exclude-standard", "-z")
    done = subprocess.run(words, cwd=folder, capture_output=True, check=True)
    return {name.decode("utf-8", "surrogateescape") for name in done.stdout.split(b"\0") if name}


def by_us(folder: Path) -> set[str]:
    return {path[len(str(folder)) + 1 :] for path in Tree([folder]).look().files}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_means_what_it_means_to_git(project: Path, pattern: str) -> None:
    (project / ".gitignore").write_text(f"{pattern}\n")
    (project / "b" / ".gitignore").unlink(missing_ok=True)
    assert by_us(project) == by_git(project)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(PATTERNS), max_size=5), st.lists(st.sampled_from(PATTERNS), max_size=3))
def test_patterns_of_several_files_together_mean_what_they_mean_to_git(
    project: Path, top: list[str], inner: list[str]
) -> None:
    (project / ".gitignore").write_text("\n".join(top))
    (project / "b" / ".gitignore").write_text("\n".join(inner))
    assert by_us(project) == by_git(project)


def test_a_folder_below_the_top_of_a_checkout_obeys_what_stands_above_it(project: Path) -> None:
    (project / ".gitignore").write_text("/b/c/*.log\n")
    (project / "b" / ".gitignore").write_text("/a.txt\n")
    assert by_us(project / "b") == {"a", "c/a", "c.log", ".gitignore"}


def test_ignore_has_the_last_word_over_gitignore(tmp_path: Path) -> None:
    for name in ("kept.gen", "left.gen", "other"):
        (tmp_path / name).write_text("")
    (tmp_path / ".gitignore").write_text("*.gen\n")
    (tmp_path / ".ignore").write_text("!kept.gen\nother\n")
    assert by_us(tmp_path) == {"kept.gen", ".gitignore", ".ignore"}


def test_a_pattern_that_would_take_a_regular_expression_for_ever_takes_no_time() -> None:
    rules = read("*a*a*a*a*a*a*a*a*a*a*a*b\n", "")
    assert rules.says("a" * 5000, folder=False) is None
