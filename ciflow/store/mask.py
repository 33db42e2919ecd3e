"""Secrets out of every text: by value, in the forms that programs print them in, also across chunks of a stream."""

from __future__ import annotations

import base64
import json
import re
import shlex
from bisect import bisect_left
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

STARS = b"********"
SHORTEST = 3  # bytes; masking every "a" or "42" would hide the output and the secret's place in it shows the secret
SHORTEST_ENCODED = 4  # encoded or broken into lines, a shorter one would match by chance
_WRAPS = (64, 76)  # columns at which openssl and coreutils' base64 break their lines
Interval = tuple[int, int]


class Mask:
    """A set of secret values. Grows as secrets become known; what was masked before stays as it was."""

    def __init__(self) -> None:
        self._values: set[bytes] = set()
        self._forms: list[bytes] = []
        self._pattern: re.Pattern[bytes] | None = None
        self._stale = False
        self._grams: frozenset[bytes] = frozenset()  # how forms begin: a text without any of these has no secret
        self._longest = 1

    def add(self, value: str | bytes) -> bool:
        """Mask this value from now on. False when it is too short to be masked (under three bytes)."""
        raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if len(raw) < SHORTEST:
            return False
        self._stale = self._stale or raw not in self._values
        self._values.add(raw)
        return True

    def __bool__(self) -> bool:
        return bool(self._values)

    def text(self, text: str) -> str:
        """The text with every secret starred out."""
        if not self._values:
            return text
        raw = text.encode("utf-8", "surrogateescape")
        found = self._found(raw)
        return _starred(raw, found, len(raw)).decode("utf-8", "surrogateescape") if found else text

    def raw(self, content: bytes) -> bytes:
        return _starred(content, self._found(content), len(content))

    def value(self, value: object, *, numbers: bool = False) -> object:
        """A JSON value with every text in it masked, keys too; with `numbers`, also those that are a secret as they
        are written: whoever reckons with a number can't do without it."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(k)): self.value(v, numbers=numbers) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(v, numbers=numbers) for v in value]
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            return STARS.decode() if str(value).encode() in self._values else value
        return value

    def holds_secret(self, content: bytes) -> bool:
        return bool(self._found(content))

    def stream(self) -> StreamMask:
        return StreamMask(self)

    def _compile(self) -> None:
        if self._stale:
            self._forms = sorted({form for value in self._values for form in forms_of(value)})
            self._grams = frozenset(form[:SHORTEST] for form in self._forms)
            self._longest = max(map(len, self._forms))
            self._pattern = re.compile(_trie(self._forms))
            self._stale = False

    def _found(self, content: bytes) -> list[Interval]:
        """Where secrets lie; those that overlap are one."""
        self._compile()
        merged: list[Interval] = []
        if self._pattern is None:
            return merged
        grams = self._grams
        for start in [i for i in range(len(content) - SHORTEST + 1) if content[i : i + SHORTEST] in grams]:
            match = self._pattern.match(content, start)
            if match and merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(match.end(), merged[-1][1]))
            elif match:
                merged.append(match.span())
        return merged

    def _open_from(self, content: bytes) -> int:
        """Where the longest end of `content` begins that could still become a secret."""
        self._compile()
        for start in range(max(0, len(content) - self._longest + 1), len(content)):
            gram = content[start : start + SHORTEST]
            if len(gram) == SHORTEST and gram not in self._grams:
                continue
            end = content[start:]
            at = bisect_left(self._forms, end)
            at += at < len(self._forms) and self._forms[at] == end  # a longer one may follow it
            if at < len(self._forms) and self._forms[at].startswith(end):
                return start
        return len(content)


class StreamMask:
    """Masks a stream in chunks. Holds back only what may turn out to be the start of a secret."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """What is now safe to show."""
        content = self._held + chunk
        found = self._mask._found(content)
        cut = self._mask._open_from(content)
        cut = next((start for start, end in found if start <= cut < end), cut)
        self._held = content[cut:]
        return _starred(content, [i for i in found if i[0] < cut], cut)

    def close(self) -> bytes:
        """The rest, at the end of the stream."""
        rest, self._held = self._held, b""
        return self._mask.raw(rest)


def forms_of(value: bytes) -> Iterator[bytes]:
    """How programs print a secret: as it is, by line, and in base64, hexadecimal, URL, JSON, HTML and shell form."""
    yield value
    if len(value) < SHORTEST_ENCODED:
        return
    text = value.decode("utf-8", "surrogateescape")
    for line in value.splitlines():
        if len(line.strip()) >= SHORTEST_ENCODED and line != value:
            yield line.strip()
    yield from (value.hex().encode(), value.hex().upper().encode())
    yield from _base64_forms(value)
    yield from _escaped(text, value)


def _escaped(text: str, value: bytes) -> Iterator[bytes]:
    import html  # and the names of all entities

    for url in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield url.encode()
        yield re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), url).encode()
    for escaped in (
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(text)[1:-1])[1:-1],
        html.escape(text),
        text.replace("'", "'\\''"),
        shlex.quote(text),
        repr(text)[1:-1],
        text.replace("\n", "\r\n"),
    ):
        yield escaped.encode("utf-8", "surrogateescape")


def _base64_forms(value: bytes) -> Iterator[bytes]:
    """Alone, and at each of the three places a byte can have in a group of base64 (as in `user:password`)."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(value)
        yield whole.rstrip(b"=")
        for before in range(3):
            shifted = encode(bytes(before) + value)
            first = (0, 2, 3)[before]  # characters that also carry bits of what stands before
            last = (len(value) + before) * 8 // 6  # those behind carry bits of what follows
            if last - first >= 4:
                yield shifted[first:last]
        for width in _WRAPS:
            lines = [whole[i : i + width] for i in range(0, len(whole), width)]
            yield from (line for line in lines[:-1] if len(lines) > 1)
            if len(lines) > 1 and len(lines[-1].rstrip(b"=")) >= 8:
                yield lines[-1].rstrip(b"=")


def _trie(forms: list[bytes]) -> bytes:
    """One pattern for sorted texts, sharing their beginnings, preferring the longest: fast for thousands of them."""
    first = forms[0]
    same = 0
    while same < len(first) and first[same] == forms[-1][same]:
        same += 1
    rest = [form[same:] for form in forms]
    optional = not rest[0]
    if optional:
        rest = rest[1:]
    head = re.escape(first[:same])
    if not rest:
        return head
    groups: dict[int, list[bytes]] = {}
    for form in rest:
        groups.setdefault(form[0], []).append(form)
    branches = b"|".join(_trie(group) for group in groups.values())
    return head + b"(?:" + branches + b")" + (b"?" if optional else b"")


def _starred(content: bytes, found: list[Interval], end: int) -> bytes:
    parts: list[bytes] = []
    at = 0
    for start, stop in found:
        parts += (content[at:start], STARS)
        at = stop
    parts.append(content[at:end])
    return b"".join(parts)
