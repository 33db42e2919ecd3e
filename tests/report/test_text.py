"""Numbers read well, and no text of others moves a column or the cursor."""

from __future__ import annotations

import unicodedata

import pytest

from ciflow.report import humane
from ciflow.report.text import fit, left, right, safe, width


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 ms"), (0.04, "40 ms"), (0.2, "0.2 s"), (6, "6 s"), (6.25, "6.2 s"), (41, "41 s"), (59.6, "1m 00s"),
     (125, "2m 05s"), (3599.7, "1h 00m"), (3720, "1h 02m"), (86_400 * 6 + 3 * 3600, "6d 03h"), (-1, "0 ms")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert humane.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4_200_000, "4.2 MB"), (999_999, "1.0 MB"), (123_456_789, "123 MB"),
     (5e12, "5.0 TB"), (5e16, "50000 TB")],
)  # fmt: skip
def test_sizes(count: float, said: str) -> None:
    assert humane.size(count) == said


@pytest.mark.parametrize(
    ("weight", "said"), [(1, "0.01 %"), (50, "0.5 %"), (100, "1 %"), (1250, "12.5 %"), (10_000, "100 %")]
)
def test_shares(weight: int, said: str) -> None:
    assert humane.share(weight) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.04, "0"), (0.8, "0.8"), (9, "9"), (99.6, "100"), (12_300, "12,300"), (float("inf"), "over a million")],
)
def test_evidence(value: float, said: str) -> None:
    assert humane.evidence(value) == said


def test_how_long_ago() -> None:
    assert [humane.ago(s) for s in (3, 60, 7200, 86_400 * 6 + 5)] == [
        "just now", "1 minute ago", "2 hours ago", "6 days ago",
    ]  # fmt: skip


HOSTILE = [
    "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x9b31m", "\r overwritten", "a\x08b", "\x1bP+q\x1b\\",
    "\x1b]52;c;cHduZWQ=\x07",
    "user\u202etxt.exe", "\u2066\u2067isolate", "zero\u200bwidth", "line\u2028sep", "bom\ufeff", "tag\U000e0041",
    "nul\x00",
    b"\xff\xfe".decode("utf-8", "surrogateescape"), "soft\xadhyphen", "\ud83d lone",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_reaches_the_terminal(text: str) -> None:
    shown = safe(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown), shown
    assert "\\" in shown
    shown.encode("utf-8")


def test_every_control_character_is_shown_by_its_number() -> None:
    assert safe("\x1b\x07\x9b") == "\\x1b\\x07\\x9b"
    assert safe("a\nb\rc\td") == "a\\nb\\rc    d"
    assert safe(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"
    assert safe("\u202e") == "\\u202e"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("hello", 5), ("漢字", 4), ("e\u0301", 1), ("ｆｕｌｌ", 8), ("שלום", 4), ("한국어", 6), ("…", 1)],
)
def test_widths_are_those_of_annex_11(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize("text", ["short", "漢字漢字漢字漢字", "a漢" * 9, "שלום עולם שלום", "x" * 50, "\x1b" * 9, ""])
@pytest.mark.parametrize("columns", [1, 7, 10, 20])
def test_columns_stand_whatever_is_in_them(text: str, columns: int) -> None:
    assert width(left(text, columns)) == width(right(text, columns)) == columns
    assert width(fit(text, columns)) <= columns


def test_right_to_left_names_are_isolated_from_their_neighbours() -> None:
    assert fit("שרת", 10) == "\u2068שרת\u2069"
    assert fit("server", 10) == "server"
