"""Starts a new verb: `python tests/scaffold/module.py NAME` (or `make module NAME=..`).

Writes ciflow/modules/NAME.py, schemas/modules/NAME.yml and golden cases, and puts the verb into MODULES and
docs/modules.md. What it writes works: it puts a text into a file. Change it, then `make golden` and review.
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.scaffold.docs import page  # noqa: E402 - the line above makes it importable from anywhere

MODULE = '''"""`{name}`: say in one sentence what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Steps, Write
from ciflow.modules.replies import file_outcome


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Say which operations it asks for, and why these."""
    content = f"{{args['text']}}\\n".encode()
    reply = yield Change(Write(path=args["path"], content=content, diff=context.diff), last=True)
    return file_outcome(reply, {{"path": args["path"]}})
'''
SCHEMA = """doc: Put a text into a file.
arguments:
  path: {{type: path, required: true, meta: {{doc: "The file on the host."}}}}
  text: {{type: text, default: hello, meta: {{doc: "What it is to hold."}}}}
returns:
  path: The file.
example: |
  - name: Say hello
    {name}:
      path: /tmp/hello
"""
CASES = {
    "writes": "args: {path: /tmp/hello, text: good morning}\nreplies:\n  - {changed: true}\n",
    "fails": "args: {path: /nope/hello}\nreplies:\n  - {ok: false, errno: ENOENT, error: no directory /nope}\n",
    "check_mode": "args: {path: /tmp/hello}\ncontext: {check: true}\nreplies:\n  - {changed: true}\n",
    "nobody_can_say": "args: {path: /tmp/hello}\nreplies:\n  - {status: unknown, ok: false}\n",
}


def create(name: str, root: Path = ROOT) -> list[Path]:
    """All files of a new verb; what was written or changed."""
    verb = root / "ciflow" / "modules" / f"{name}.py"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise SystemExit(
            f"{name!r} is no name for a module: small letters, digits and underscores, and no word of Python"
        )
    if verb.exists():
        raise SystemExit(f"{verb} is there already")
    schema = root / "schemas" / "modules" / f"{name}.yml"
    goldens = root / "tests" / "golden" / "modules" / name
    goldens.mkdir(parents=True)
    verb.write_text(MODULE.format(name=name))
    schema.write_text(SCHEMA.format(name=name))
    for case, text in CASES.items():
        (goldens / f"{case}.yml").write_text(text)
    registry = root / "ciflow" / "modules" / "__init__.py"
    registry.write_text(registered(registry.read_text(), name))
    manual = root / "docs" / "modules.md"
    manual.write_text(page(root))
    return [verb, schema, goldens, registry, manual]


def registered(source: str, name: str) -> str:
    """The registry with the verb in MODULES, in order of the alphabet."""
    head, mark, entries = source.partition("MODULES: dict[str, Module] = {\n")
    inside, _, tail = entries.partition("}\n")
    rows = sorted([*inside.splitlines(), f'    "{name}": Module("{name}"),'])
    return head + mark + "\n".join(rows) + "\n}\n" + tail


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tests/scaffold/module.py NAME")
    for path in create(sys.argv[1]):
        print(path.relative_to(ROOT))
    print("Now `make golden`, and look at what it wrote.")
