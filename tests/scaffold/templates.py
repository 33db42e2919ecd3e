"""The tables of docs/templates.md: `python -m tests.scaffold.templates` writes them anew."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from ciflow.lang.filters import COLLECTIONS
from ciflow.lang.jinja import environment
from ciflow.lang.lookups import LOOKUPS, OTHER_LOOKUPS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "templates.md"


def _names(names: Iterable[str]) -> str:
    return "\n".join(wrap(" ".join(f"`{name}`" for name in sorted(names)), 130, break_on_hyphens=False))


def _plain(table: Mapping[str, Any], others: Iterable[str] = ()) -> list[str]:
    return [name for name in table if re.fullmatch(r"\w+", name) and name not in set(others)]


def _options(lookup: Callable[..., Any]) -> str:
    parameters = inspect.signature(lookup).parameters.values()
    return " ".join(f"`{one.name}`" for one in parameters if one.kind is one.KEYWORD_ONLY and one.name != "folder")


def tables() -> dict[str, str]:
    """What stands between the marks of the page, by mark."""
    of_collections = {name for filters in COLLECTIONS.values() for name in filters}
    rows = [f"| `{name}` | {_options(one)} |" for name, one in sorted((LOOKUPS | OTHER_LOOKUPS).items())]
    return {
        "filters": _names(_plain(environment().filters, of_collections)),
        "collections": "\n".join(f"- `{name}`: {' '.join(f'`{one}`' for one in sorted(filters))}"
                                 for name, filters in COLLECTIONS.items()),
        "tests": _names(_plain(environment().tests)),
        "lookups": "\n".join(["| lookup | options |", "|---|---|", *rows]),
    }  # fmt: skip


def page(text: str) -> str:
    """The page with its tables as they are to be."""
    for mark, table in tables().items():
        head, _, rest = text.partition(f"<!-- {mark} -->\n")
        text = f"{head}<!-- {mark} -->\n{table}\n{rest[rest.index('<!-- end -->') :]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
