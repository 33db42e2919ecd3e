"""Each case: arguments and replies in, exactly these operations and this outcome out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.golden.replay import CASES, play

FILES = sorted(CASES.glob("*/*.yml"))


class Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; no anchors; two more blanks before the items of a list."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value[:-1] else None)


Dumper.add_representer(str, _text)


def dump(case: dict[str, Any]) -> str:
    order = ("says", "args", "context", "replies", "operations", "outcome")
    kept = {key: case[key] for key in order if key in case}
    return yaml.dump(kept, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_module_asks_and_concludes_as_written(path: Path, rewrite: bool) -> None:
    case = yaml.safe_load(path.read_text())
    operations, outcome = play(path.parent.name, case)
    if rewrite:
        said = {**case, "operations": operations, "outcome": outcome}
        if said != case:  # else a review would show nothing but how it is laid out
            path.write_text(dump(said))
        return
    assert operations == case["operations"]
    assert outcome == case["outcome"]
