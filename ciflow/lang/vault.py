"""ansible-vault's format, read and written byte for byte, and the passwords of a run that open it.

A vault text is a header, `$ANSIBLE_VAULT;1.1;AES256` or `$ANSIBLE_VAULT;1.2;AES256;LABEL`, and hexadecimal digits in
lines of 80, which hold three texts joined by newlines, each in hexadecimal again: salt, HMAC, ciphertext. Keys come
from PBKDF2-HMAC-SHA256 (RFC 8018; 10,000 rounds, 80 bytes: cipher key 32, HMAC key 32, counter 16); the cipher is
AES-256 in counter mode (NIST SP 800-38A) over text padded as PKCS #7 says; the HMAC-SHA256 is that of the ciphertext.

Plain text is only ever in memory. Whatever was opened is a secret: who hides secrets listens (`Vault.listen`).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ciflow.dataclass import dataclass, field
from ciflow.diagnostics import Diagnostic, Invalid, Span
from ciflow.model import Template

HEADER = b"$ANSIBLE_VAULT;"
DEFAULT_LABEL = "default"
ROUNDS = 10_000
WIDTH = 80
SALT = 32
_BLOCK = 16
_WHOLE_LITERAL = 8  # characters that a piece of text between templates must have to be hidden by itself
# A `!vault` scalar's lines in a YAML file, all as far from the margin as its header.
_INLINE = re.compile(rb"^([ ]+)(\$ANSIBLE_VAULT;[^\r\n]+)(\r?\n)((?:\1[0-9a-fA-F]+[ \t]*(?:\r?\n|\Z))+)", re.MULTILINE)
LARGEST_HIDDEN = 16 * 1024  # bytes of one file that are looked for in every output


class _Broken(Exception):
    """The text is no vault text, or this password doesn't open it; in words."""


@dataclass(frozen=True, slots=True)
class Password:
    """A vault password and the label that `--vault-id label@source` gave it."""

    label: str
    secret: bytes = field(repr=False)


class Vault:
    """The passwords of a run, what they have opened, and who is told of it.

    As in Ansible, a password whose label is that of the text is tried first, then all others.
    """

    def __init__(self, passwords: Sequence[Password] = ()) -> None:
        self.passwords = tuple(passwords)
        self._opened: dict[bytes, bytes] = {}
        self._secrets: dict[str, None] = {}
        self._listeners: list[Callable[[str], object]] = []

    def open(self, content: bytes, span: Span | None) -> bytes:
        """The plain text. Raises Invalid (CF0017), placed at `span`."""
        if content not in self._opened:
            self._opened[content] = self.unlock(content, span)[0]
        return self._opened[content]

    def unlock(self, content: bytes, span: Span | None) -> tuple[bytes, Password]:
        """The plain text, and the password that opened it under the label that the text has. Raises Invalid."""
        try:
            label, body = _parsed(content)
            first = sorted(self.passwords, key=lambda one: one.label != label)
            for password in first:
                if (plain := _decrypted(body, password.secret)) is not None:
                    return plain, Password(label or DEFAULT_LABEL, password.secret)
        except _Broken as broken:
            raise _unopened(str(broken), span) from broken
        named = f" (vault id `{label}`)" if label else ""
        if not self.passwords:
            raise _unopened(f"this is encrypted{named}, and no vault password is given", span)
        tried = ", ".join(dict.fromkeys(one.label for one in first))
        raise _unopened(f"no vault password that was given opens this{named}; tried: {tried}", span)

    def secret(self, value: Any) -> None:
        """Hide a value from now on: every text and number in it, and what stands around its templates."""
        for text in _texts(value):
            if text not in self._secrets and len(text) <= LARGEST_HIDDEN:
                self._secrets[text] = None
                for listener in self._listeners:
                    listener(text)

    def listen(self, listener: Callable[[str], object]) -> None:
        """Tell of every secret known, and of each one as it becomes known."""
        self._listeners.append(listener)
        for text in self._secrets:
            listener(text)


@dataclass(frozen=True, slots=True)
class Encrypted(Template):
    """A `!vault` scalar: opened when a template, condition or task asks for it, so a vault that nobody needs may stay
    shut. What is in it is data: as in Ansible, never rendered."""

    content: str = ""
    vault: Vault = field(default_factory=Vault, compare=False, repr=False)

    def plain(self) -> str:
        """Raises Invalid (CF0017) at the scalar."""
        text = self.vault.open(self.content.encode("utf-8", "surrogateescape"), self.span).decode("utf-8", "replace")
        self.vault.secret(text)
        return text


def encrypted(content: str, span: Span, vault: Vault) -> Encrypted:
    """What stands for a `!vault` scalar until it is opened. Raises ValueError in words on what is no vault text."""
    try:
        _parsed(content.encode("utf-8", "surrogateescape"))
    except _Broken as broken:
        raise ValueError(str(broken)) from broken
    return Encrypted("(encrypted)", span, content=content, vault=vault)


def is_vaulted(content: bytes) -> bool:
    return content.startswith(HEADER)


def label_of(content: bytes) -> str:
    """The label in the header; "" in version 1.1. Raises Invalid (CF0017) on what is no vault text."""
    try:
        return _parsed(content)[0]
    except _Broken as broken:
        raise _unopened(str(broken), None) from broken


def encrypt(plain: bytes, password: Password, salt: bytes = b"") -> bytes:
    """A vault text of version 1.1, or 1.2 where the password's label is not `default`. `salt`: 32 random bytes."""
    salt = salt or os.urandom(SALT)
    cipher, check, counter = _keys(password.secret, salt)
    padding = _BLOCK - len(plain) % _BLOCK
    hidden = _counter_mode(cipher, counter, plain + bytes([padding]) * padding)
    mark = hmac.new(check, hidden, hashlib.sha256).hexdigest().encode()
    digits = b"\n".join([salt.hex().encode(), mark, hidden.hex().encode()]).hex().encode()
    labelled = password.label not in ("", DEFAULT_LABEL)
    header = f"$ANSIBLE_VAULT;{'1.2' if labelled else '1.1'};AES256" + (f";{password.label}" if labelled else "")
    lines = [digits[at : at + WIDTH] for at in range(0, len(digits), WIDTH)]
    return b"\n".join([header.encode(), *lines, b""])


def inline(content: bytes, change: Callable[[bytes, Span], bytes], path: str) -> bytes:
    """A YAML file with each of its `!vault` values as `change` gives it, told the text and its place; all else stays as
    it is."""

    def changed(found: re.Match[bytes]) -> bytes:
        margin, header, newline, digits = found.groups()
        span = Span(path, content.count(b"\n", 0, found.start()) + 1, len(margin) + 1)
        lines = change(header + b"\n" + digits, span).splitlines()
        whole = newline.join(margin + line for line in lines)
        return whole + (newline if digits.endswith(b"\n") else b"")

    return _INLINE.sub(changed, content)


# --- the format --------------------------------------------------------------------------------------------


def _parsed(content: bytes) -> tuple[str, Sequence[bytes]]:
    """Label of a vault text, and its salt, HMAC and ciphertext; lines may be indented, as in YAML."""
    lines = [line.strip() for line in content.strip().splitlines()]
    head = lines[0].split(b";") if lines else []
    if len(head) < 3 or head[0] != b"$ANSIBLE_VAULT":
        raise _Broken("this is no text of ansible-vault: its header is missing")
    if head[1] not in (b"1.1", b"1.2") or head[2] != b"AES256":
        said = b";".join(head[1:3]).decode("utf-8", "replace")
        raise _Broken(f"this vault text is of the kind {said}, which is not read; 1.1 and 1.2 with AES256 are")
    label = head[3].decode("utf-8", "replace") if len(head) > 3 and head[1] == b"1.2" else ""
    parts = _unhex(b"".join(lines[1:])).split(b"\n", 2)
    if len(parts) != 3:
        raise _Broken("this vault text is damaged: it has no salt, HMAC and ciphertext")
    return label, [_unhex(part) for part in parts]


def _unhex(digits: bytes) -> bytes:
    try:
        return binascii.unhexlify(digits)
    except binascii.Error as error:
        raise _Broken(f"this vault text is damaged: {str(error).lower()}") from error


def _decrypted(body: Sequence[bytes], secret: bytes) -> bytes | None:
    """The plain text; None where the password is another (or the text was changed: nobody can tell which)."""
    salt, mark, hidden = body
    cipher, check, counter = _keys(secret, salt)
    if not hmac.compare_digest(hmac.new(check, hidden, hashlib.sha256).digest(), mark):
        return None
    padded = _counter_mode(cipher, counter, hidden)
    padding = padded[-1] if padded else 0
    if not 1 <= padding <= _BLOCK or padded[-padding:] != bytes([padding]) * padding:
        raise _Broken("this vault text is damaged: its padding is wrong")
    return padded[:-padding]


def _keys(secret: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    made = hashlib.pbkdf2_hmac("sha256", secret, salt, ROUNDS, 80)
    return made[:32], made[32:64], made[64:]


def _counter_mode(key: bytes, counter: bytes, content: bytes) -> bytes:
    """AES-256-CTR, which is its own inverse."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return stream.update(content) + stream.finalize()


def _unopened(message: str, span: Span | None) -> Invalid:
    help = "name its password with --vault-id label@file, --vault-password-file or --ask-vault-pass"
    return Invalid([Diagnostic("error", "CF0017", message, span, help=help)])


def _texts(value: Any) -> Iterator[str]:
    """Every text and number in a value that came from an encrypted file, which may be a secret."""
    if isinstance(value, Encrypted) or value is None or isinstance(value, bool):
        return
    if isinstance(value, Template):
        pieces = re.split(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", value.source, flags=re.DOTALL)
        yield from (piece.strip() for piece in pieces if len(piece.strip()) >= _WHOLE_LITERAL)
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _texts(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _texts(below)
    else:
        yield str(value)
