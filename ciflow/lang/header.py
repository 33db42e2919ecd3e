"""The first line of a `.j2` file, `#jinja2: trim_blocks:False, ..`, which sets options for it, as in Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPTIONS = frozenset({
    "block_start_string", "block_end_string", "variable_start_string", "variable_end_string", "comment_start_string",
    "comment_end_string", "trim_blocks", "lstrip_blocks", "newline_sequence",
})  # fmt: skip


def header(text: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], str, int]:
    """Jinja's options (the header's win over `options`), the text without the header, and how many lines that was."""
    known = {key: value for key, value in options.items() if key in _OPTIONS}
    if not text.startswith("#jinja2:"):
        return known, text, 0
    head, _, body = text.partition("\n")
    pairs = (pair.partition(":") for pair in head.removeprefix("#jinja2:").split(","))
    words = {"true": True, "false": False}
    own = {key.strip(): words.get(value.strip().lower(), value.strip().strip("'\"")) for key, _, value in pairs}
    return known | {key: value for key, value in own.items() if key in _OPTIONS}, body, 1
