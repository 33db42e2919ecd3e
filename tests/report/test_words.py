"""docs/events.md names every kind of event that is written, and every one that a report or a fold reads."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def documented() -> set[str]:
    text = (ROOT / "docs" / "events.md").read_text()
    return set(re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE))


def test_every_kind_that_is_read_is_documented() -> None:
    sources = [*(ROOT / "ciflow" / "report").glob("*.py"), ROOT / "ciflow" / "store" / "folds.py"]
    found: set[str] = set()
    for source in sources:
        text = source.read_text()
        for compared in re.findall(r"event\.kind (?:==|in|!=|not in) (\([^)]*\)|\"[a-z_]+\")", text):
            found |= set(re.findall(r'"([a-z_]+)"', compared))
        for table in re.findall(r"^_(?:HANDLERS|TOLD)\b.*?^}", text, re.MULTILINE | re.DOTALL):
            found |= set(re.findall(r'^    "([a-z_]+)":', table, re.MULTILINE))
    assert len(found) > 20
    assert found <= documented()


def test_every_kind_that_is_written_is_documented() -> None:
    found: set[str] = set()
    for source in (ROOT / "ciflow").rglob("*.py"):
        made = r"(?:\bemit\(|\bNote\(|\bEvent\(kind=|_event\(run, )\s*\"([a-z_]+)\""
        found |= set(re.findall(made, source.read_text()))
    assert len(found) > 15
    assert found <= documented()
