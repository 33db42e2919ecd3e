"""A new verb is one command away, and what that writes is complete and works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEW = "scaffolded"  # whoever follows the guide has a verb `greet`


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The parts of the project that a verb touches, to be changed at will."""
    for name in ("ciflow", "schemas", "tests/golden", "tests/scaffold"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docs/modules.md", "tests/__init__.py", "tests/test_completeness.py", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    argv = [sys.executable, *words]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_a_verb_made_by_the_scaffold_is_complete_once_its_goldens_are_written(copy: Path) -> None:
    assert python(copy, "tests/scaffold/module.py", NEW).returncode == 0
    quick = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{NEW} or same_verbs or exist or page")
    before = python(copy, *quick, "tests/golden")
    assert before.returncode == 1, "goldens that nobody has written yet must fail, not pass"
    assert python(copy, *quick, "tests/golden", "--golden-rewrite").returncode == 0
    after = python(copy, *quick, "tests/golden", "tests/test_completeness.py")
    assert after.returncode == 0, after.stdout


def test_a_name_that_is_taken_or_no_name_is_refused(copy: Path) -> None:
    for name in ("copy", "Two-Words", "class"):
        done = python(copy, "tests/scaffold/module.py", name)
        assert done.returncode == 1
        assert name in done.stderr
        assert "Traceback" not in done.stderr
