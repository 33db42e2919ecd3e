"""A bench for each test."""

from pathlib import Path

import pytest

from tests.engine.playing import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
