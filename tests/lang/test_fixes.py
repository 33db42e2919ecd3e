"""The page of diagnostics can't lie: each playbook on it has exactly the fault it stands for, and none without."""

from __future__ import annotations

from pathlib import Path

import pytest

from ciflow.cli.explain import explained
from ciflow.diagnostics import Diagnostic, Invalid
from ciflow.lang.codes import CODES
from ciflow.lang.fixes import FIXES
from ciflow.lang.load import load


def found(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Diagnostic, ...]:
    monkeypatch.chdir(folder)
    Path("playbook.yml").write_text(text)
    try:
        return load("playbook.yml", lints=True).findings
    except Invalid as fault:
        return fault.diagnostics


@pytest.mark.parametrize("code", FIXES)
def test_a_playbook_has_the_fault_and_its_fix_has_none(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, right = FIXES[code]
    assert code in [one.code for one in found(wrong, tmp_path, monkeypatch)]
    assert found(right, tmp_path, monkeypatch) == ()


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained_in_a_sentence_at_least(code: str) -> None:
    text = explained(code.lower())
    assert text.startswith(f"{code} {CODES[code]}\n\n")
    assert text.rstrip().count(".") >= 1
