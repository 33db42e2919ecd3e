"""The tables of docs/language.md, made from `schemas/`: `python -m tests.scaffold.language` writes them anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ciflow.lang.roles import KEYWORDS as ROLE
from tests.scaffold.docs import ROOT, cell

PAGE = ROOT / "docs" / "language.md"
PARTS = ("task", "block", "play")  # what a keyword means is said by the first that has it
SAID = {"dict": "mapping", "fields": "mapping", "mappings": "list of mappings", "items": "list",
        "batches": "list of these"}  # fmt: skip
WORDS = ("import_playbook", "import_tasks", "include_tasks", "import_role", "include_role", "include_vars", "meta")


def fields(part: str) -> Mapping[str, Any]:
    """The keywords of a part, with their rules."""
    found: Mapping[str, Any] = yaml.safe_load((ROOT / "schemas" / f"{part}.yml").read_text())["arguments"]
    return found


def keywords() -> str:
    """Every keyword of plays, roles, blocks and tasks, and where it may stand."""
    parts = {part: fields(part) for part in PARTS}
    names = sorted({name for known in parts.values() for name in known})
    lines = ["| keyword | in | value | meaning |", "|---|---|---|---|"]
    for name in names:
        known = {part: parts[part][name] for part in PARTS if name in parts[part]}
        for kind in dict.fromkeys(str(rule["type"]) for rule in known.values()):
            alike = {part: rule for part, rule in known.items() if str(rule["type"]) == kind}
            role = {"role"} if name in ROLE and "task" in alike else set()
            where = [part for part in ("play", "role", "block", "task") if part in alike.keys() | role]
            lines += _rows(name, next(iter(alike.values())), f" {', '.join(where)} |")
    return "\n".join(lines)


def _rows(name: str, rule: Mapping[str, Any], where: str) -> Iterator[str]:
    types = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    kinds = [SAID.get(one, one) for one in types]
    allowed = [str(one) for one in rule.get("allowed", ()) if not str(one).startswith("ansible.")]
    value = " or ".join(f"`{one}`" for one in allowed) if allowed else " or ".join(kinds)
    meta = rule.get("meta") or {}
    meaning = str(meta.get("doc", "")) + (" Not built yet: it is refused." if meta.get("unbuilt") else "")
    needed = ", required" if rule.get("required") else ""
    yield f"| `{name}` |{where} {value}{needed} | {cell(meaning)} |"
    below = rule.get("schema") or {}
    below = below.get("schema") or {} if "type" in below else below
    for key, inside in below.items():
        yield from _rows(f"{name}.{key}", inside, " |" if where else "")


def playbook() -> str:
    rows = [line for name, rule in fields("playbook").items() for line in _rows(name, rule, "")]
    return "\n".join(["| keyword | value | meaning |", "|---|---|---|", *rows])


def words() -> str:
    """What is no module, but the language's own, with its arguments."""
    parts = []
    for word in WORDS:
        said = yaml.safe_load((ROOT / "schemas" / "words" / f"{word}.yml").read_text())
        head = [f"### {word}", "", said["doc"], "", "| argument | value | meaning |", "|---|---|---|"]
        rows = [line for name, rule in said["arguments"].items() for line in _rows(name, rule, "")]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts)


def page(text: str) -> str:
    """The page with its tables as they are to be."""
    for mark, table in {"playbook": playbook(), "keywords": keywords(), "words": words()}.items():
        head, _, rest = text.partition(f"<!-- {mark} -->\n")
        text = f"{head}<!-- {mark} -->\n{table}\n{rest[rest.index('<!-- end -->') :]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
