"""Which dependencies a platform has: Cargo's `[target.'cfg(..)'.dependencies]`.

Grammar: the Cargo book, "Platform specific dependencies", and the Rust reference, "Conditional compilation".
"""

from __future__ import annotations

import re

from ciflow.dataclass import dataclass
from ciflow.supply.errors import MetadataError

_TOKEN = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*|"[^"]*"|[(),=])')


@dataclass(frozen=True)
class Target:
    """A triple, and the lines of `rustc --print cfg --target TRIPLE` as (name, value) pairs."""

    triple: str
    cfg: frozenset[tuple[str, str | None]]

    def matches(self, condition: str) -> bool:
        """Whether a dependency under this `target` key counts here: a triple, or `cfg(..)`.

        Raises:
            MetadataError: when the condition is neither.
        """
        text = condition.strip()
        if not (text.startswith("cfg(") and text.endswith(")")):
            return text == self.triple
        reader = _Reader(text[4:-1], self)
        value = reader.predicate()
        reader.end()
        return value


def parse_cfg(triple: str, text: str) -> Target:
    """The output of `rustc --print cfg --target TRIPLE`, such as `unix` or `target_os="linux"`."""
    pairs: set[tuple[str, str | None]] = set()
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        pairs.add((name, value.strip('"') if equals else None))
    return Target(triple, frozenset(pairs))


class _Reader:
    def __init__(self, text: str, target: Target) -> None:
        self._text, self._at, self._target = text, 0, target

    def _fail(self) -> MetadataError:
        return MetadataError(f"cannot read the platform condition cfg({self._text})")

    def _peek(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        return match[1] if match else ""

    def _take(self) -> str:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise self._fail()
        self._at = match.end()
        return match[1]

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise self._fail()

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise self._fail()

    def predicate(self) -> bool:
        name = self._take()
        if not (name[0].isalpha() or name[0] == "_"):
            raise self._fail()
        if self._peek() == "(":
            return self._combined(name)
        if self._peek() == "=":
            self._take()
            return (name, self._string()) in self._target.cfg
        if name in ("true", "false"):
            return name == "true"
        return (name, None) in self._target.cfg

    def _string(self) -> str:
        token = self._take()
        if not token.startswith('"'):
            raise self._fail()
        return token[1:-1]

    def _combined(self, name: str) -> bool:
        self._expect("(")
        values: list[bool] = []
        while self._peek() != ")":
            values.append(self.predicate())
            if self._peek() != ")":
                self._expect(",")
        self._expect(")")
        if name == "all":
            return all(values)
        if name == "any":
            return any(values)
        if name == "not" and len(values) == 1:
            return not values[0]
        raise self._fail()
