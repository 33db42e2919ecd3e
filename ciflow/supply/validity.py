"""What validators of the formats let pass: identifiers, hashes, licences and relations that can't be right."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ciflow.dataclass import dataclass
from ciflow.supply import licenses, purls
from ciflow.supply.errors import SupplyError
from ciflow.supply.model import Bom, Component

# Hex digits of each algorithm: FIPS 180-4, FIPS 202, RFC 7693, RFC 1321; BLAKE3's default output.
_DIGITS = {
    "MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128,
    "SHA3-256": 64, "SHA3-384": 96, "SHA3-512": 128,
    "BLAKE2b-256": 64, "BLAKE2b-384": 96, "BLAKE2b-512": 128, "BLAKE3": 64, "Streebog-256": 64, "Streebog-512": 128,
}  # fmt: skip
_CPE = re.compile(r"cpe:2\.3:[aho*-](:[^:]*(?:\\:[^:]*)*){10}\Z")


@dataclass(frozen=True)
class Finding:
    """`grave`: it is wrong; else it is odd."""

    ref: str
    message: str
    grave: bool = True


def check(bom: Bom) -> list[Finding]:
    """All findings, component by component."""
    return [*(finding for part in bom.everything() for finding in _component(part)), *_relations(bom)]


def _component(part: Component) -> Iterable[Finding]:
    yield from _purl(part)
    for digest in part.hashes:
        wanted = _DIGITS.get(digest.algorithm)
        if wanted is None:
            yield Finding(part.ref, f"{digest.algorithm} is no known hash")
        elif not re.fullmatch(f"[0-9a-f]{{{wanted}}}", digest.value):
            yield Finding(part.ref, f"{digest.algorithm} has {wanted} hex digits, not {digest.value[:80]!r}")
    if part.cpe is not None and not part.cpe.startswith("cpe:/") and not _CPE.match(part.cpe):
        yield Finding(part.ref, f"{part.cpe} is no CPE 2.3")
    if part.licence is not None and licenses.normalise(part.licence) is None:
        yield Finding(part.ref, f"the licence {part.licence[:80]!r} is no SPDX expression", grave=False)
    if not part.name.strip():
        yield Finding(part.ref, "it has no name")


def _purl(part: Component) -> Iterable[Finding]:
    if part.purl is None:
        return
    try:
        known = purls.parse(part.purl)
    except SupplyError as error:
        yield Finding(part.ref, str(error))
        return
    if known.version and part.version and known.version != part.version:
        yield Finding(part.ref, f"its version is {part.version}, and its purl says {known.version}", grave=False)


def _relations(bom: Bom) -> Iterable[Finding]:
    led_to = {relation.target for relation in bom.relations}
    for part in bom.components:
        if part.ref not in led_to:
            yield Finding(part.ref, "nothing depends on it, so nobody knows why it is listed", grave=False)
    yield from (Finding(r.source, "it depends on itself") for r in bom.relations if r.source == r.target)
