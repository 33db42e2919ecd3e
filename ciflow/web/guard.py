"""What every request has to pass before anything is looked at, and what every answer carries.

- Host: a page of somebody else's name that was made to resolve to this machine (DNS rebinding) says that name.
- Token: in `Authorization: Bearer`, or proved by a cookie that no other site's page is sent with (SameSite=Strict).
- Acting by cookie: JSON with a header of ours and our own Origin. Another site's page can send neither a form as JSON
  nor such a header without asking first, which is never granted; so there is nothing that it could forge.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from ciflow.dataclass import dataclass
from ciflow.web.http import Request, Response
from ciflow.web.tokens import LASTS, Token, Tokens

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "form-action 'self'",
    "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
))  # fmt: skip
ALWAYS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
    "vary": "Cookie",
}


class Shut(Exception):
    """A request that is not let in."""

    def __init__(self, status: int, message: str, help: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.help = help


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, and whether a browser showed it by its cookie."""

    token: Token
    by_cookie: bool


@dataclass(frozen=True, slots=True)
class Guard:
    """`names` are those that the page is reached by, in lower case and without ports; addresses are always good: no
    name was made to lead here."""

    tokens: Tokens
    names: frozenset[str]
    secure: bool
    cookie_name: str

    def check_host(self, request: Request) -> None:
        host = _name_of(request.headers.get("host", ""))
        if host not in self.names and not _is_address(host):
            raise Shut(421, "this server does not go by that name", "say so when it starts: --name NAME")

    def visitor(self, request: Request) -> Visitor | None:
        """None for who has shown nothing that is known."""
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind:
            found = self.tokens.of_secret(secret.strip()) if kind.lower() == "bearer" else None
            return Visitor(found, False) if found else None
        cookie = _cookie(request.headers.get("cookie", ""), self.cookie_name)
        found = self.tokens.of_cookie(cookie, time.time()) if cookie else None
        return Visitor(found, True) if found else None

    def check_acting(self, request: Request, visitor: Visitor) -> None:
        """Before a word of its body is looked at."""
        if not visitor.token.acts:
            raise Shut(403, f"{visitor.token.name} may look, and not act")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Shut(415, "an action is said in JSON", "Content-Type: application/json")
        self.check_origin(request, needed=visitor.by_cookie)
        if visitor.by_cookie and request.headers.get("x-ciflow") != "1":
            raise Shut(403, "only the page itself acts by its cookie", "X-Ciflow: 1, or a token in Authorization")

    def check_origin(self, request: Request, *, needed: bool) -> None:
        origin = request.headers.get("origin")
        if origin is None and not needed:
            return
        here = request.headers.get("host", "").lower()
        if origin is None or origin.partition("://")[2].lower() != here:
            raise Shut(403, "another site's page has no business here")
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Shut(403, "another site's page has no business here")

    def let_in(self, token: Token) -> Response:
        """With a cookie, to the page: the token is in no address any more."""
        flags = f"HttpOnly; SameSite=Strict; Path=/; Max-Age={LASTS}" + ("; Secure" if self.secure else "")
        cookie = f"{self.cookie_name}={token.cookie(time.time())}; {flags}"
        return Response(303, {"location": "/", "set-cookie": cookie})

    def let_out(self) -> Response:
        flags = "HttpOnly; SameSite=Strict; Path=/; Max-Age=0" + ("; Secure" if self.secure else "")
        return Response(303, {"location": "/", "set-cookie": f"{self.cookie_name}=; {flags}"})


def cookie_name(port: int, *, secure: bool) -> str:
    """Cookies don't know ports: two servers of one machine have two names. `__Host-` is taken over TLS alone."""
    return f"__Host-ciflow-{port}" if secure else f"ciflow-{port}"


def _name_of(host: str) -> str:
    """Of a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""
