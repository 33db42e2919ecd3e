"""ARCHITECTURE.md is short, and what it names is there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text()
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|toml|md))`")
MADE_BY_THE_WHEEL = {"ciflow/shipped/"}
OWNERS = {  # the one file that may import a third-party library
    "paramiko": {
        f"ciflow/targets/{name}.py" for name in ("host_certificate", "ssh", "ssh_agent", "ssh_login", "ssh_trust")
    },
    "jinja2": {f"ciflow/lang/{name}.py" for name in ("jinja", "jinja_values", "template", "template_check")},
    "cerberus": {"ciflow/lang/schema.py"},
    "yaml": {"ciflow/lang/yamltext.py"},
    "h11": {"ciflow/web/http.py"},
    "rich": {"ciflow/report/live.py"},
    "opentelemetry": {"ciflow/report/otel.py"},
}


def test_it_is_read_in_one_sitting() -> None:
    assert len(PAGE.splitlines()) <= 150


def test_every_path_that_it_names_exists() -> None:
    names = set(PATH.findall(PAGE)) - MADE_BY_THE_WHEEL
    assert len(names) > 60
    short = {name for name in names if "/" not in name}
    known = {path.name for path in (ROOT / "ciflow").rglob("*.py")} | {path.name for path in ROOT.iterdir()}
    assert not [name for name in names - short if not (ROOT / name).exists()]
    assert not short - known


def test_every_name_in_the_code_that_it_names_exists() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "ciflow").rglob("*.py"))
    named = set(re.findall(r"`(_?[A-Za-z]+(?:\.[a-z_]+)?|_[a-z_]+)`", PAGE))
    methods = {name for name in named if "." in name and name[0].isupper()}
    private = {name for name in named if name.startswith("_")}
    constants = {name for name in named if name.isupper()}
    assert methods and private and constants
    for name in methods:
        owner, _, method = name.partition(".")
        assert re.search(rf"class {owner}\b", code) and re.search(rf"def {method}\b", code), name
    for name in private:
        assert re.search(rf"def {name}\b", code), name
    for name in constants:
        assert re.search(rf"^{name}\b", code, re.MULTILINE), name


def test_every_layer_has_a_row_and_every_package_a_layer() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layered = {name.strip(" ()") for row in contract["layers"] for name in row.split("|")}
    packages = {f"ciflow.{path.parent.name}" for path in (ROOT / "ciflow").glob("*/__init__.py")}
    assert packages <= layered
    assert layered - packages == {
        "ciflow.encoding",
        "ciflow.collecting",
        "ciflow.late",
        "ciflow.sigv4",
        "ciflow.model",
        "ciflow.diagnostics",
        "ciflow.dataclass",
        "ciflow.whole",
    }
    for package in packages:
        assert f"`{package.replace('.', '/')}/`" in PAGE


def test_a_third_party_library_has_one_owner() -> None:
    for path in sorted((ROOT / "ciflow").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for library in imported(path) & OWNERS.keys():
            assert name in OWNERS[library], f"{name} imports {library}"


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_decisions_are_dated() -> None:
    decisions = PAGE.partition("## Decisions")[2].strip().split("\n\n")
    assert len(decisions) >= 8
    assert all(re.match(r"\*\*\d{4}-\d\d-\d\d, [^*]+\.\*\* ", one) for one in decisions)


def test_every_dataclass_is_of_our_quick_kind() -> None:
    """The standard decorator costs 0.6 ms a class at each start."""
    sent = {ROOT / "ciflow/targets/agent.py", ROOT / "ciflow/dataclass.py", *(ROOT / "ciflow/modules/files").glob("*")}
    slow = re.compile(r"^from dataclasses import .*\b(dataclass|field)\b|@dataclasses\.dataclass", re.MULTILINE)
    assert [
        path for path in (ROOT / "ciflow").rglob("*.py") if path not in sent and slow.search(path.read_text())
    ] == []
