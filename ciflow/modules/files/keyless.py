"""Signs without a key of one's own, over the network: the CI's token, the authority, the log. Called by the programs
of `sign` and `attest`; `supply/keyless.py` says what is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ciflow.supply import keyless
from ciflow.supply.errors import SignatureError
from ciflow.supply.keys import SigningKey
from ciflow.supply.strict import MOST_BYTES, read

TIMEOUT = 30.0  # seconds, for each answer
_LOCAL = ("127.0.0.1", "::1", "localhost")


def signed(wish: Mapping[str, Any], content: Callable[[SigningKey], Mapping[str, Any]]) -> bytes:
    """A bundle around what `content` makes with a fresh key. `wish` has {fulcio, rekor, token_file}.

    Raises:
        SignatureError: nobody gives a token, or one of the two does not answer as it should.
    """
    where = {"fulcio": wish["fulcio"] or keyless.FULCIO, "rekor": wish["rekor"] or keyless.REKOR}
    asks = {who: lambda path, body, to=url: _ask(f"{to.rstrip('/')}{path}", body) for who, url in where.items()}
    return keyless.signed(content, _token(wish), asks["fulcio"], asks["rekor"])


def _token(wish: Mapping[str, Any]) -> str:
    """From the file, from the variable that GitLab's `id_tokens` and others set, or from GitHub."""
    if wish["token_file"]:
        return Path(wish["token_file"]).expanduser().read_text().strip()
    if said := os.environ.get("SIGSTORE_ID_TOKEN"):
        return said
    url, secret = (os.environ.get(f"ACTIONS_ID_TOKEN_REQUEST_{name}") for name in ("URL", "TOKEN"))
    if url and secret:
        answer = _ask(f"{url}&{urlencode({'audience': keyless.AUDIENCE})}", None, f"bearer {secret}")
        return read(answer, "answer of the CI").text("value")
    raise SignatureError(
        "nobody here says who you are: the CI gives no token. On GitHub the job needs `permissions: id-token: write`, "
        "on GitLab `id_tokens: {SIGSTORE_ID_TOKEN: {aud: sigstore}}`; elsewhere name a file that holds one"
    )


def _ask(url: str, body: bytes | None, authorization: str = "") -> bytes:
    """What a server answers. A token goes only where nobody can listen, and never on to another address."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise SignatureError(f"{url}: a token is sent by https only")
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    request = Request(url, body, headers | ({"Authorization": authorization} if authorization else {}))
    place = f"{parts.scheme}://{parts.netloc}{parts.path}"
    try:
        with build_opener(_Stay).open(request, timeout=TIMEOUT) as answer:
            content: bytes = answer.read(MOST_BYTES + 1)
    except OSError as e:
        told = e.read(1000).decode("utf-8", "replace") if hasattr(e, "read") else ""
        raise SignatureError(f"{place}: {e} {told}".rstrip()) from e
    except (HTTPException, ValueError) as e:
        raise SignatureError(f"{place}: {e}") from e
    return content


class _Stay(HTTPRedirectHandler):
    def redirect_request(self, *_args: object) -> None:
        """What answers somewhere else is an error."""
