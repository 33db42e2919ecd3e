"""A test that fails by chance ends no build and is named; one that fails by a fault does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Twice = Callable[[str], tuple[int, str]]
HERE = Path(__file__).parents[1]
# Fails in the first run of the tests and passes in the second: what it leaves behind says which one it is.
BY_CHANCE = """
import pathlib
def test_NAME():
    seen = pathlib.Path("NAME")
    if not seen.exists():
        seen.touch()
        assert False
"""


@pytest.fixture
def twice(tmp_path: Path) -> Twice:
    """`twice(source)`: the exit code and words of the second run, after a first one of that test file."""

    def run(source: str) -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(source)
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        words = [sys.executable, "-m", "pytest", "-q", "test_it.py"]
        subprocess.run(words, cwd=tmp_path, env=environment, check=False, capture_output=True)
        ended = subprocess.run([sys.executable, "-m", "tests.again"], cwd=tmp_path, env=environment, check=False,
                               capture_output=True, text=True)  # fmt: skip
        return ended.returncode, ended.stdout

    return run


def test_what_passes_alone_is_named_and_ends_no_build(twice: Twice) -> None:
    code, said = twice(BY_CHANCE.replace("NAME", "race"))
    assert (code, said.splitlines()[-1].strip()) == (0, "test_it.py::test_race")


def test_what_fails_alone_too_fails(twice: Twice) -> None:
    assert twice("def test_fault():\n    assert False\n")[0] == 1


def test_many_failures_are_no_chance(twice: Twice) -> None:
    code, said = twice("".join(BY_CHANCE.replace("NAME", f"n{number}") for number in range(4)))
    assert (code, said) == (1, "")


def test_a_file_that_can_not_be_read_fails(twice: Twice) -> None:
    assert twice("import nothing_of_that_name\n")[0] != 0
