"""People and organisations as texts: `Name <address>`, where the address is of e-mail or a page."""

from __future__ import annotations

import re
from functools import lru_cache

from ciflow.supply.model import Party

_PARTY = re.compile(r"\s*([^<>]*?)\s*(?:<([^<>]*)>)?\s*\Z")


@lru_cache(maxsize=4096)
def parse_party(text: str) -> Party | None:
    """None where neither a name nor an address is said; text of another shape is a name."""
    match = _PARTY.match(text)
    name, address = (match[1], match[2] or None) if match else (text.strip(), None)
    page = address if address and re.match(r"https?://", address) else None
    known = name or address
    return Party(known, None if page else address, page) if known else None
