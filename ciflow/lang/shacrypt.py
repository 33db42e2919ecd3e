"""SHA-crypt, the password hashes `$5$` and `$6$` of /etc/shadow.

After U. Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6, 2016-08-31; the step numbers are his.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 5000  # of a hash that names no number
DEFAULT_ROUNDS = {"sha256": 535_000, "sha512": 656_000}  # what Ansible takes where no number is given
MOST_ROUNDS = 5_000_000  # some seconds; the rest of the run waits for them
# Step 22: the order in which the digest's bytes are written, three for each four characters.
_ORDER_256 = ((0, 10, 20), (21, 1, 11), (12, 22, 2), (3, 13, 23), (24, 4, 14), (15, 25, 5), (6, 16, 26), (27, 7, 17),
              (18, 28, 8), (9, 19, 29))  # fmt: skip
_ORDER_512 = ((0, 21, 42), (22, 43, 1), (44, 2, 23), (3, 24, 45), (25, 46, 4), (47, 5, 26), (6, 27, 48), (28, 49, 7),
              (50, 8, 29), (9, 30, 51), (31, 52, 10), (53, 11, 32), (12, 33, 54), (34, 55, 13), (56, 14, 35),
              (15, 36, 57), (37, 58, 16), (59, 17, 38), (18, 39, 60), (40, 61, 19), (62, 20, 41))  # fmt: skip


def sha_crypt(password: str, salt: str, kind: str = "sha512", rounds: int = _ROUNDS) -> str:
    """The hash as it stands in /etc/shadow. `kind` is sha256 or sha512; the salt counts to 16 characters.

    Raises ValueError for more than MOST_ROUNDS.
    """
    secret, salted = password.encode(), salt.encode()[:16]
    if rounds > MOST_ROUNDS:
        raise ValueError(f"a hash of {rounds:,} rounds would hold up the run; at most {MOST_ROUNDS:,}")
    rounds = max(rounds, 1000)
    digest = _digest(secret, salted, kind, rounds)
    shown = "" if rounds == _ROUNDS else f"rounds={rounds}$"
    return f"${'5' if kind == 'sha256' else '6'}${shown}{salted.decode()}${_written(digest, kind)}"


def _digest(secret: bytes, salt: bytes, kind: str, rounds: int) -> bytes:
    size = hashlib.new(kind).digest_size
    b = hashlib.new(kind, secret + salt + secret).digest()  # steps 4 to 8
    a = hashlib.new(kind, secret + salt + _stretched(b, len(secret), size))  # steps 1 to 3, 9 and 10
    length = len(secret)
    while length:  # step 11
        a.update(b if length & 1 else secret)
        length >>= 1
    result = a.digest()
    p = _stretched(hashlib.new(kind, secret * len(secret)).digest(), len(secret), size)  # steps 13 to 16
    s = _stretched(hashlib.new(kind, salt * (16 + result[0])).digest(), len(salt), size)  # steps 17 to 20
    make: Callable[[bytes], Any] = getattr(hashlib, kind)
    for number in range(rounds):  # step 21
        c = p if number % 2 else result
        c += (s if number % 3 else b"") + (p if number % 7 else b"")
        c += result if number % 2 else p
        result = make(c).digest()
    return result


def _stretched(digest: bytes, length: int, size: int) -> bytes:
    """The digest repeated to `length` bytes."""
    return (digest * (length // size + 1))[:length]


def _written(digest: bytes, kind: str) -> str:
    if kind == "sha256":
        groups = [_characters((digest[a] << 16) | (digest[b] << 8) | digest[c], 4) for a, b, c in _ORDER_256]
        return "".join(groups) + _characters((digest[31] << 8) | digest[30], 3)
    groups = [_characters((digest[a] << 16) | (digest[b] << 8) | digest[c], 4) for a, b, c in _ORDER_512]
    return "".join(groups) + _characters(digest[63], 2)


def _characters(number: int, count: int) -> str:
    return "".join(_ALPHABET[(number >> 6 * place) & 63] for place in range(count))
