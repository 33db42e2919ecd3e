"""Writes docs/modules.md from schemas/modules: `python -m tests.scaffold.docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Modules

Every verb that a task may use. Names of Ansible's builtin modules keep Ansible's meaning, arguments and results.
This page is made from `schemas/modules/` by `python -m tests.scaffold.docs`; a test keeps the two equal.

"""


def page(root: Path = ROOT) -> str:
    """The whole page, verbs in order of the alphabet."""
    files = sorted((root / "schemas" / "modules").glob("*.yml"))
    sections = [section(file.stem, yaml.safe_load(file.read_text())) for file in files]
    contents = " · ".join(f"[{file.stem}](#{file.stem})" for file in files)
    return HEAD + contents + "\n\n" + "\n\n".join(sections) + "\n"


def section(verb: str, schema: dict[str, Any]) -> str:
    """One verb: what it does, an example, its arguments, what it returns."""
    full = f"{schema.get('collection')}.{verb}"
    named = f" In Ansible it is `{full}`; both names are taken." if "collection" in schema else ""
    parts = [f"## {verb}", schema["doc"] + named, f"```yaml\n{schema['example'].rstrip()}\n```"]
    if schema["arguments"]:
        rows = [_row(name, rule) for name, rule in schema["arguments"].items()]
        parts.append("\n".join(["| argument | type | default | meaning |", "|---|---|---|---|", *rows]))
    parts += [_groups(schema)] if schema.get("one_of") or schema.get("exclusive") else []
    if schema.get("free_form"):
        parts.append(f"Plain text behind the verb is `{schema['free_form']}`.")
    returned = [f"- `{name}`: {meaning}" for name, meaning in schema["returns"].items()]
    parts.append("Returns:\n\n" + "\n".join(returned))
    return "\n\n".join(parts)


def _row(name: str, rule: dict[str, Any]) -> str:
    aliases = [alias for alias in rule["meta"].get("aliases", []) if not alias.startswith("_")]
    names = f"`{name}`" + (f" ({', '.join(f'`{alias}`' for alias in aliases)})" if aliases else "")
    kinds = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    allowed = f": {', '.join(f'`{value!s}`' for value in rule['allowed'])}" if _few(rule) else ""
    default = "required" if rule.get("required") else _shown(rule["default"]) if "default" in rule else ""
    meaning = rule["meta"]["doc"] + (_below(rule["schema"]) if rule["type"] == "dict" and "schema" in rule else "")
    return f"| {names} | {' or '.join(kinds)}{allowed} | {default} | {cell(meaning)} |"


def _few(rule: dict[str, Any]) -> bool:
    return "allowed" in rule and all(str(value).isprintable() and "\\" not in str(value) for value in rule["allowed"])


def _shown(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...").strip()
    return f"`{cell(text)}`"


def _below(schema: dict[str, Any]) -> str:
    """Keys of an argument that is a mapping."""
    return " Keys: " + " ".join(f"`{name}`: {rule['meta']['doc']}" for name, rule in schema.items())


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _groups(schema: dict[str, Any]) -> str:
    needed = [f"One of {_names(group)} is needed." for group in schema.get("one_of", [])]
    apart = [f"{_names(group)} exclude each other." for group in schema.get("exclusive", [])]
    return " ".join(needed + apart)


def _names(group: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in group)


if __name__ == "__main__":
    (ROOT / "docs" / "modules.md").write_text(page())
