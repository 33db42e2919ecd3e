"""Who may look, and who may act: tokens with a name each, which is the `who` that is recorded.

A cookie holds no token, only proof of one: the time at which it ends, signed with the token. So nothing is kept between
two starts of the server, and a token that is taken out of the file ends its cookies.
"""

from __future__ import annotations

import base64
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Refused

READS, ACTS, HOOK = "read", "act", "webhook"
SHORTEST = 22  # characters: 128 bits in base64
LASTS = 7 * 86_400  # seconds of a cookie
_NAME = re.compile(r"[\w.@+-]{1,64}")
_FORM = "a line is NAME, one of read, act or webhook, and a secret: `ada act 3q2-7wEz...`"
_HOOK_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Token:
    """`may` is READS, ACTS (which reads, too), or HOOK, which only signs what a webhook says."""

    name: str
    may: str
    secret: str

    @property
    def acts(self) -> bool:
        return self.may == ACTS

    def cookie(self, now: float) -> str:
        ends = int(now) + LASTS
        return f"{ends}.{self._proof(str(ends))}"

    def _proof(self, ends: str) -> str:
        return hmac.new(self.secret.encode(), f"ciflow cookie {ends}".encode(), sha256).hexdigest()

    def proves(self, cookie: str, now: float) -> bool:
        ends, _, proof = cookie.partition(".")
        known = hmac.compare_digest(proof.encode(), self._proof(ends).encode())
        return known and ends.isascii() and ends.isdigit() and int(ends[:12]) > now

    def signature(self, id: str, at: str, body: bytes) -> bytes:
        """Of a webhook, as Standard Webhooks has it (symmetric scheme v1)."""
        key = base64.b64decode(self.secret.removeprefix(_HOOK_PREFIX))
        return base64.b64encode(hmac.new(key, f"{id}.{at}.".encode() + body, sha256).digest())


@dataclass(frozen=True, slots=True)
class Tokens:
    """All that are known."""

    all: tuple[Token, ...]

    def of_secret(self, secret: str) -> Token | None:
        """Every one is compared, in a time that says nothing of where it differs."""
        found = None
        given = secret.encode("utf-8", "surrogateescape")
        for one in self.people:
            if hmac.compare_digest(one.secret.encode(), given):
                found = one
        return found

    def of_cookie(self, cookie: str, now: float) -> Token | None:
        found = None
        for one in self.people:
            if one.proves(cookie, now):
                found = one
        return found

    def hook(self, name: str) -> Token | None:
        return next((one for one in self.all if one.may == HOOK and one.name == name), None)

    @property
    def people(self) -> Iterable[Token]:
        return (one for one in self.all if one.may != HOOK)


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def read_tokens(path: Path) -> Tokens:
    """Of a file that nobody else can read. Raises Refused, never with a secret."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as file:
            found = os.fstat(descriptor)
            text = file.read(1 << 20)
    except (OSError, UnicodeDecodeError) as e:
        raise Refused(f"the tokens in {path} can't be read: {getattr(e, 'strerror', None) or 'it is no text'}") from e
    if stat.S_ISREG(found.st_mode) and found.st_mode & 0o077:
        raise Refused(f"others can read the tokens in {path}", help=f"chmod 600 {path}")
    lines = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    tokens = tuple(_token(path, number, words) for number, words in lines if words and not words[0].startswith("#"))
    _check_all(path, tokens)
    return Tokens(tokens)


def _token(path: Path, number: int, words: list[str]) -> Token:
    if len(words) != 3:
        raise Refused(f"{path}:{number}: this is no token", help=_FORM)
    name, may, secret = words
    if not _NAME.fullmatch(name):
        raise Refused(f"{path}:{number}: a name has letters, digits and . @ + - _ only", help=_FORM)
    if may not in (READS, ACTS, HOOK):
        raise Refused(f"{path}:{number}: {name} may `{may}`, which is nothing that is known", help=_FORM)
    if len(secret) < SHORTEST or not secret.isascii():
        help = f"one of {SHORTEST} characters or more: `head -c 24 /dev/urandom | base64`"
        raise Refused(f"{path}:{number}: the secret of {name} can be guessed", help=help)
    if may == HOOK:
        _check_hook(path, number, name, secret)
    return Token(name, may, secret)


def _check_hook(path: Path, number: int, name: str, secret: str) -> None:
    try:
        long_enough = len(base64.b64decode(secret.removeprefix(_HOOK_PREFIX), validate=True)) >= 16
    except ValueError:
        long_enough = False
    if not long_enough:
        help = 'echo "whsec_$(head -c 32 /dev/urandom | base64)"'
        raise Refused(f"{path}:{number}: the secret of {name} is not base64 of 16 bytes or more", help=help)


def _check_all(path: Path, tokens: tuple[Token, ...]) -> None:
    if not tokens:
        raise Refused(f"there is no token in {path}", help=_FORM)
    if len({one.secret for one in tokens}) < len(tokens):
        raise Refused(f"two tokens in {path} have the same secret", help="each tells who it was")
    if len({one.name for one in tokens}) < len(tokens):
        raise Refused(f"two tokens in {path} have the same name", help="each tells who it was")


def token_of(name: str, secret: str, may: str) -> Tokens:
    """The one token of a server that was given no file. Raises Refused where it can be guessed."""
    if len(secret) < SHORTEST or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise Refused("the token in $CIFLOW_SERVE_TOKEN can be guessed",
                      help=f"one of {SHORTEST} characters or more: `head -c 24 /dev/urandom | base64`")  # fmt: skip
    return Tokens((Token(name, may, secret),))
