"""Signature Version 4, by which AWS and those who speak as it does know whose request it is. Pure.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ciflow.dataclass import dataclass

CONTENT = "x-amz-content-sha256"  # S3 wants the body's digest among the headers, and refuses a body that differs


@dataclass(frozen=True, slots=True)
class Account:
    """Whose request it is; `session` for temporary credentials."""

    access: str
    secret: str
    session: str = ""


def signed(
    method: str, url: str, headers: Mapping[str, str], body: bytes, now: float, scope: str, account: Account
) -> dict[str, str]:
    """`headers` and those that sign them, `body` and the time. `url` is as it is sent: its path encoded once, its
    query in order. `scope` is region/service; where `headers` have CONTENT, `body` is not read."""
    parts = urlsplit(url)
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    whole = {**headers, "host": parts.netloc, "x-amz-date": stamp}
    if account.session:
        whole["x-amz-security-token"] = account.session
    names = ";".join(sorted(whole))
    lines = "".join(f"{name}:{whole[name].strip()}\n" for name in sorted(whole))
    digest = headers.get(CONTENT) or hashlib.sha256(body).hexdigest()
    canonical = "\n".join([method, parts.path or "/", parts.query, lines, names, digest])
    scope = f"{stamp[:8]}/{scope}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{account.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), "sha256").digest()
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = f"Credential={account.access}/{scope}, SignedHeaders={names}, Signature={signature}"
    del whole["host"]  # said by whoever sends it
    return {**whole, "Authorization": f"AWS4-HMAC-SHA256 {credential}"}
