"""Findings for programs: held against the standard's own schema, and against what GitHub reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ciflow.diagnostics import Diagnostic, Span
from ciflow.lang.codes import CODES, EXPLAINED
from ciflow.report.findings import as_github, as_json, as_sarif

# The JSON schema of SARIF 2.1.0 as OASIS publishes it, without its descriptions.
SARIF = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.json").read_text())
FOUND = (
    Diagnostic("error", "CF0102", "unknown keyword `taks` in a play", Span("site.yml", 4, 3, 4, 7),
               "did you mean `tasks`?"),
    Diagnostic("warning", "CF0602", "no host", Span("/a b/%ä.yml", 1, 1), help="look"),
    Diagnostic("hint", "CF0020", "50 % is, so: a\nhint", Span("a,b:c.yml", 2, 3, 5, 1)),
    Diagnostic("error", "CF0210", "`x` is not defined", Span("t.j2", 7, 2, 7, 3), lambda: "nearest: `y`",
               related=(("used by: P > T", Span("roles/r/tasks/main.yml", 3, 5)),)),
    Diagnostic("error", "CF0303", "no task is named `x`", None),
    Diagnostic("error", "CF0001", "can't read it", Span("gone.yml")),
)  # fmt: skip


def sarif() -> Any:
    return json.loads(as_sarif(FOUND, "1.2.3", {code: (CODES[code], EXPLAINED[code]) for code in CODES}))


def test_sarif_is_what_the_standard_says() -> None:
    jsonschema.Draft7Validator(SARIF).validate(sarif())
    jsonschema.Draft7Validator(SARIF).validate(json.loads(as_sarif((), "1.2.3", {})))


def test_sarif_has_every_finding_with_its_rule_and_place() -> None:
    (run,) = sarif()["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [one.code for one in FOUND]
    assert [result["level"] for result in run["results"]] == ["error", "warning", "note", "error", "error", "error"]
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 4, "startColumn": 3, "endLine": 4, "endColumn": 7}
    places = [at["physicalLocation"] for one in run["results"] for at in one.get("locations", ())]
    uris = [place["artifactLocation"]["uri"] for place in places]
    assert uris == ["site.yml", "file:///a%20b/%25%C3%A4.yml", "a%2Cb%3Ac.yml", "t.j2", "gone.yml"]
    (related,) = run["results"][3]["relatedLocations"]
    assert related["message"]["text"] == "used by: P > T"


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (0, "::error file=site.yml,line=4,col=3,endColumn=7,title=CF0102 error::unknown keyword `taks` in a play%0A"
            "did you mean `tasks`?"),
        (1, "::warning file=/a b/%25ä.yml,line=1,col=1,title=CF0602 warning::no host%0Alook"),
        (2, "::notice file=a%2Cb%3Ac.yml,line=2,col=3,title=CF0020 hint::50 %25 is, so: a%0Ahint"),
        (4, "::error title=CF0303 error::no task is named `x`"),
        (5, "::error file=gone.yml,title=CF0001 error::can't read it"),
    ],
)  # fmt: skip
def test_a_finding_is_one_command_to_github(number: int, line: str) -> None:
    """Escaped as https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts does."""
    assert as_github(FOUND).splitlines()[number] == line


def test_json_has_one_finding_a_line_with_all_that_people_are_told() -> None:
    lines = [json.loads(line) for line in as_json(FOUND).splitlines()]
    assert [line["code"] for line in lines] == [one.code for one in FOUND]
    assert lines[3]["label"] == "nearest: `y`"
    assert (lines[3]["line"], lines[3]["column"], lines[3]["end_line"], lines[3]["end_column"]) == (7, 2, 7, 3)
    assert lines[3]["related"] == [
        {"message": "used by: P > T", "file": "roles/r/tasks/main.yml", "line": 3, "column": 5}
    ]
