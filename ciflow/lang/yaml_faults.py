"""What is said of text that is not YAML: where, why, and what somebody most often did there."""

from __future__ import annotations

import re
from typing import Protocol

from ciflow.diagnostics import Diagnostic, Span


class Mark(Protocol):
    """Where the parser was; both count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class SyntaxFault(Protocol):
    """PyYAML's MarkedYAMLError."""

    @property
    def context(self) -> str | None: ...
    @property
    def context_mark(self) -> Mark | None: ...
    @property
    def problem(self) -> str | None: ...
    @property
    def problem_mark(self) -> Mark | None: ...


class CharacterFault(Protocol):
    """PyYAML's ReaderError."""

    position: int
    character: str | int


_BARE_TEMPLATE = re.compile(r"^\s*(?:-\s+)*(?:[^\s#'\"{][^#'\"{]*:\s+|-\s+)(\{\{)")
_KEY = re.compile(r"\s*(?:-\s+)*[^\s:]+:\s")  # what a line begins with whose value holds another colon


def syntax_error(error: SyntaxFault, text: str, file: str) -> Diagnostic:
    """Where it went wrong, and what somebody may have meant there."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines() or [""]
    for candidate in (line, line - 1):
        if 0 <= candidate < len(lines) and (bare := _BARE_TEMPLATE.match(lines[candidate])):
            return unquoted(file, candidate + 1, bare.start(1) + 1, lines[candidate][bare.start(1) :].rstrip())
    problem = error.problem or str(error)
    if "'\\t'" in problem or (line < len(lines) and "\t" in lines[line][: column + 1]):
        column = lines[line].find("\t") if line < len(lines) and "\t" in lines[line] else column
        span = Span(file, line + 1, column + 1, line + 1, column + 2)
        return Diagnostic("error", "CF0011", "a tab can't indent YAML", span, "use spaces")
    if line >= len(lines):
        line, column = len(lines) - 1, len(lines[-1])
    context = f" {error.context}" if error.context else ""
    related: tuple[tuple[str, Span | None], ...] = ()
    if error.context_mark and error.context_mark.line != line:
        related = (("it began here", Span(file, error.context_mark.line + 1, error.context_mark.column + 1)),)
    label = _likely(problem, lines, line, column)
    span = Span(file, line + 1, column + 1)
    return Diagnostic("error", "CF0010", f"YAML: {problem}{context}", span, label, related=related)


_LIKELY = (  # a piece of the parser's message, and what somebody most often did
    ("expected '-' indicator", "indent it as the keys of the item above, or begin it with `- `"),
    ("expected key", "its indent fits no line above"),
    ("unexpected end of stream", "the quote is never closed"),
    ("cannot start any token", "quote this text"),
    ("undefined alias", "quote it: `*` begins an alias in YAML"),
    ("could not find expected ':'", "does this text lack its `key:`, or its indent?"),
    ("block sequence entries", "a list begins on a line of its own"),
    ("expected ',' or ']'", "is the `[` never closed?"),
    ("expected ',' or '}'", "is the `{` never closed?"),
)


def _likely(problem: str, lines: list[str], number: int, column: int) -> str:
    """What somebody may have meant where YAML can't go on."""
    line = lines[number]
    if "expected key" in problem and (line[:column].strip() or line[column : column + 1] in ("'", '"')):
        return "a quote ends before it: escape the inner ones, or use the other kind around all"
    if "mapping values" not in problem:
        return next((said for piece, said in _LIKELY if piece in problem), "")
    if _KEY.match(line[:column]):
        return "this text holds a `:` and a blank: quote all of it"
    before = lines[number - 1] if number else ""
    if _KEY.match(before) and _depth(before) < _depth(line):
        return "indented too deep: the line before has its value already"
    return "does the line before lack its `:`?"


def _depth(line: str) -> int:
    """Where the text of a line begins, behind the `- ` of a list."""
    return len(line) - len(line.lstrip(" -"))


def unquoted(file: str, line: int, column: int, text: str) -> Diagnostic:
    """A template without quotes, which YAML takes for a mapping in a mapping."""
    span = Span(file, line, column, line, column + len(text))
    return Diagnostic("error", "CF0016", "YAML reads `{{` as a mapping", span, f'quote the template: "{text}"')


def character_error(error: CharacterFault, text: str, file: str) -> Diagnostic:
    """A byte that no YAML may hold."""
    before = text[: error.position]
    span = Span(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
    code = ord(error.character) if isinstance(error.character, str) else int(error.character)
    return Diagnostic("error", "CF0010", f"YAML: the control character 0x{code:02x} is not allowed", span)
