"""The first line of a `.j2` file, `#jinja2: trim_blocks:False, ..`, which sets options for it, as in Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEFAULTS: dict[str, Any] = {
    "block_start_string": "{%", "block_end_string": "%}", "variable_start_string": "{{", "variable_end_string": "}}",
    "comment_start_string": "{#", "comment_end_string": "#}", "trim_blocks": True, "lstrip_blocks": False,
    "newline_sequence": "\n",
}  # fmt: skip
_NEWLINES = {"\\n": "\n", "\\r": "\r", "\\r\\n": "\r\n"}


def header(text: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], str, int]:
    """Jinja's options that are not the usual ones, the text without the header, and how many lines that was.

    What the header says wins over `options`.
    """
    own: dict[str, Any] = {}
    skipped = int(text.startswith("#jinja2:"))
    if skipped:
        head, _, text = text.partition("\n")
        pairs = (pair.partition(":") for pair in head.removeprefix("#jinja2:").split(","))
        words = {"true": True, "false": False}
        own = {key.strip(): words.get(value.strip().lower(), value.strip().strip("'\"")) for key, _, value in pairs}
    chosen = {**options, **own}
    newline = str(chosen.get("newline_sequence", "\n"))
    chosen["newline_sequence"] = _NEWLINES.get(newline, newline)
    return {key: chosen[key] for key, usual in _DEFAULTS.items() if chosen.get(key, usual) != usual}, text, skipped
