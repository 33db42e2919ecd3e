"""A tool for each test."""

from pathlib import Path

import pytest

from tests.security.tool import Tool


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)
