"""Diagnostics as a person reads them, and the table of codes."""

from __future__ import annotations

import re

import pytest

from ciflow.diagnostics import Diagnostic, Span
from ciflow.lang.codes import CODES, page
from ciflow.lang.snippets import columns, render_diagnostics
from tests.scaffold.docs import ROOT


def shown(text: str, column: int, end: int, label: str = "") -> list[str]:
    fault = Diagnostic("error", "CF0102", "message", Span("a.yml", 1, column, 1, end), label)
    return render_diagnostics([fault], {"a.yml": text}).splitlines()


def test_a_fault_reads_as_the_design_shows() -> None:
    text = "\n" * 13 + "    taks:\n"
    fault = Diagnostic("error", "CF0102", "unknown keyword `taks` in a play", Span("p.yml", 14, 5, 14, 9),
                       "did you mean `tasks`?")  # fmt: skip
    assert render_diagnostics([fault], {"p.yml": text}) == (
        "error[CF0102]: unknown keyword `taks` in a play\n"
        "  --> p.yml:14:5\n"
        "   |\n"
        "14 |     taks:\n"
        "   |     ^^^^ did you mean `tasks`?\n"
        "\n"
        "1 error; nothing was run. `ciflow doc CF0102` says more."
    )


@pytest.mark.parametrize(("text", "column", "end"), [("k: 漢字 x", 4, 6), ("k: e\u0301a b", 6, 7), ("\tk: v", 2, 3)])
def test_the_caret_stands_under_the_fault_in_any_script(text: str, column: int, end: int) -> None:
    lines = shown(text, column, end)
    line, mark = lines[3][4:], lines[4][4:]
    start = len(mark) - len(mark.lstrip())
    assert start == columns(text[: column - 1])
    assert len(mark.strip()) == columns(text[column - 1 : end - 1])
    assert columns(line) >= start


# Unicode Standard Annex 11: wide ideographs take two columns; a combining accent takes none of its own.
@pytest.mark.parametrize(("text", "wanted"), [("漢字", 4), ("e\u0301", 1), ("abc", 3), ("ｱ", 1), ("Ａ", 2)])
def test_columns_are_counted_as_a_terminal_does(text: str, wanted: int) -> None:
    assert columns(text) == wanted


def test_control_and_direction_characters_can_not_play_tricks_on_the_screen() -> None:
    lines = shown("k: \x1b[31m\u202ereversed", 1, 2)
    assert lines[3] == "1 | k: <U+001B>[31m<U+202E>reversed"


def test_a_very_long_line_is_cut_around_the_fault() -> None:
    lines = shown("x" * 500 + "FAULT" + "y" * 500, 501, 506)
    assert all(len(line) < 110 for line in lines)
    start = lines[4].index("^")
    assert lines[3][start : start + 5] == "FAULT"


def test_at_most_twenty_are_shown_and_the_rest_counted() -> None:
    faults = [Diagnostic("error", "CF0102", f"number {n}") for n in range(25)]
    text = render_diagnostics(faults, {})
    assert text.count("error[") == 20
    assert "... and 5 more" in text
    assert "25 errors; nothing was run." in text


def test_a_place_without_its_text_still_shows() -> None:
    fault = Diagnostic(
        "error", "CF0102", "m", Span("gone.yml", 3, 1), "label", "help", (("imported here", Span("a", 1, 2)),)
    )
    assert render_diagnostics([fault], {}).splitlines()[1:5] == [" --> gone.yml:3:1", "  = label",
                                                                 "  = imported here: a:1:2", "  = help"]  # fmt: skip


def test_every_code_that_is_used_has_a_title_and_every_title_a_use() -> None:
    used = {code for path in (ROOT / "ciflow").rglob("*.py") if path.name != "codes.py"
            for code in re.findall(r"CF\d{4}", path.read_text())}  # fmt: skip
    assert used - CODES.keys() == set()
    assert CODES.keys() - used == set()


def test_the_page_of_diagnostics_is_the_table() -> None:
    """After a change: `python -c "from ciflow.lang.codes import page; print(page(), end='')" > docs/diagnostics.md`."""
    assert (ROOT / "docs" / "diagnostics.md").read_text() == page()
    assert list(CODES) == sorted(CODES)
