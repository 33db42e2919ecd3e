"""Each fault of the table has a test, and no test names a fault that isn't in it."""

import ast
from pathlib import Path

from tests.faults.table import FAULTS

TESTS = Path(__file__).resolve().parents[1]


def marked(path: Path) -> dict[int, list[str]]:
    """Tests of a file by the numbers of their marks."""
    found: dict[int, list[str]] = {}
    text = path.read_text()
    if "pytest.mark.fault" not in text:
        return found
    for node in ast.walk(ast.parse(text)):
        for mark in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                for number in mark.args:
                    found.setdefault(ast.literal_eval(number), []).append(f"{path.name}::{node.name}")
    return found


def test_every_fault_has_a_test_and_every_mark_a_fault() -> None:
    shown: dict[int, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for number, names in marked(path).items():
            shown.setdefault(number, []).extend(names)
    for number in sorted(shown):
        print(number, FAULTS.get(number, "?"), *sorted(shown[number]), sep="\n    ")
    assert shown.keys() == FAULTS.keys()
