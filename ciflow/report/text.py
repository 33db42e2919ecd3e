"""Text that is safe to show in a terminal, and as wide as it claims to be.

Output of programs may hold escape sequences that change the title, the clipboard or what was printed before. Every
control character is shown, none is sent. Widths follow Unicode Standard Annex #11; bidirectional overrides are shown
(CVE-2021-42574), and right-to-left names are isolated (UAX #9) so that they don't move their neighbours. A line that
GitHub's runner would take for an order to itself (`::set-output ..`, "Workflow commands" of its documentation; `##[..]`
of old) is no such line any more: what a host prints sets no output and masks nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from ciflow.dataclass import dataclass

ELLIPSIS = "…"
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)
_ORDERS = (
    "add-mask|add-matcher|add-path|debug|echo|endgroup|error|group|internal-set-repo-path|notice|remove-matcher"
    "|save-state|set-env|set-output|stop-commands|warning"
)
_ORDER = re.compile(rf"(^\s*):(?=:(?:{_ORDERS})\b)|(#)(?=#\[(?:{_ORDERS})\b)", re.IGNORECASE)
_ANSI = {"ok": "32", "changed": "33", "failed": "31", "name": "36", "bold": "1", "dim": "2"}


def safe(text: str) -> str:
    """One line without control characters: each is shown as `\\x1b`, `\\n`, `\\u202e`; tabs become blanks."""
    if not (text.isascii() and text.isprintable()):
        text = _UNSAFE.sub(lambda m: _shown(m[0]), text)
    return _no_order(text)


def _no_order(line: str) -> str:
    """The line, its first colon (or `#`) shown by its number where a runner would obey it."""
    if "::" not in line and "##[" not in line:
        return line
    return _ORDER.sub(lambda m: "\\x23" if m[2] else f"{m[1]}\\x3a", line)


def _shown(char: str) -> str:
    code = ord(char)
    if char == "\t":
        return "    "
    if char in "\n\r":
        return {"\n": "\\n", "\r": "\\r"}[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width(text: str) -> int:
    """Columns in a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


@lru_cache(maxsize=4096)
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Safe, at most `columns` wide, cut with an ellipsis."""
    text = safe(text)
    if width(text) > columns:
        kept, used = "", 1
        for char in text:
            used += _columns(char)
            if used > columns:
                break
            kept += char
        text = kept + ELLIPSIS if columns > 0 else ""
    return _isolated(text)


def left(text: str, columns: int) -> str:
    """Exactly `columns` wide, at the left."""
    text = fit(text, columns)
    return text + " " * (columns - width(text))


def right(text: str, columns: int) -> str:
    """Exactly `columns` wide, at the right."""
    text = fit(text, columns)
    return " " * (columns - width(text)) + text


def _isolated(text: str) -> str:
    if text.isascii() or not any(unicodedata.bidirectional(c) in ("R", "AL") for c in text):
        return text
    return f"\u2068{text}\u2069"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line, already safe. `style` is a word of state (ok, changed, failed), name, bold, dim, or none."""

    text: str
    style: str = ""


Line = tuple[Piece, ...]


def line(*pieces: Piece | str) -> Line:
    return tuple(p if isinstance(p, Piece) else Piece(p) for p in pieces)


def painted(pieces: Iterable[Piece], colour: bool) -> str:
    """The line as it is written, without blanks at its end. The same words with colour and without."""
    shown = "".join(_painted(p, colour) for p in pieces)
    return _no_order(shown).rstrip()


def _painted(piece: Piece, colour: bool) -> str:
    code = _ANSI.get(piece.style, "") if colour else ""
    if not code or not piece.text.strip():
        return piece.text
    bare = piece.text.rstrip()
    return f"\x1b[{code}m{bare}\x1b[0m{piece.text[len(bare) :]}"
