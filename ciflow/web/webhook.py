"""An approval that a program brings: signed, and only once.

As Standard Webhooks has it (https://www.standardwebhooks.com, version 1): `webhook-id`, `webhook-timestamp` in Unix
seconds, and `webhook-signature`, `v1,` and the base64 of HMAC-SHA256 over `ID.TIMESTAMP.BODY`; several with blanks
between them while a secret is being changed.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable

from ciflow.dataclass import dataclass, field
from ciflow.web.guard import Shut
from ciflow.web.http import Request
from ciflow.web.tokens import Token, Tokens

SKEW = 300.0  # seconds that two clocks may be apart, and that a message may take
MOST = 10_000  # messages that are remembered; within SKEW there are no more, or no more are taken
_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@dataclass(slots=True)
class Hooks:
    """Whom a message is from, if it is from somebody. A message that was taken is refused from then on; and since none
    is remembered over a restart, so is what was signed before this server began."""

    tokens: Tokens
    clock: Callable[[], float] = time.time
    began: float = 0.0
    _seen: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.clock()

    def sender(self, name: str, request: Request) -> Token:
        """Raises Shut, without a word about which of name, time and signature was wrong until it is signed well."""
        id, at, given = (request.headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
        token = self.tokens.hook(name)
        signed = _signed(token, id, at, request.body, given) if token is not None else False
        if token is None or not signed:
            raise Shut(401, "this is not signed by anybody who is known here")
        now = self.clock()
        if abs(now - int(at)) > SKEW:
            raise Shut(401, f"this was signed at another time than now ({SKEW:.0f} s are borne)")
        if int(at) < int(self.began):
            raise Shut(401, "this was signed before this server began", "sign it anew")
        self._seen = {key: when for key, when in self._seen.items() if now - when <= 2 * SKEW}
        if (name, id) in self._seen:
            raise Shut(409, "this has been taken already")
        if len(self._seen) >= MOST:
            raise Shut(429, "there were too many within a short time")
        self._seen[name, id] = now
        return token


def _signed(token: Token, id: str, at: str, body: bytes, given: str) -> bool:
    """Every signature that is given is compared, in a time that says nothing of where it differs."""
    if not _ID.fullmatch(id) or not re.fullmatch(r"[0-9]{1,12}", at):
        return False
    wanted = token.signature(id, at, body)
    well = False
    for one in given.split()[:8]:
        version, _, signature = one.partition(",")
        well |= version == "v1" and hmac.compare_digest(signature.encode("utf-8", "replace"), wanted)
    return well
