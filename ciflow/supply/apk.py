"""Alpine packages that are installed: `lib/apk/db/installed` (Alpine's wiki, "Apk spec"; one letter a field)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ciflow.supply.distribution import Installed, distro, linked, website
from ciflow.supply.licenses import normalise
from ciflow.supply.model import Component, Kind, Party, Relation
from ciflow.supply.parties import parse_party
from ciflow.supply.purls import purl

FILES = re.compile(r"(?:.*/)?(?:usr/)?lib/apk/db/installed\Z")
_NAME = re.compile(r"([^<>=~\s]+)")  # of a need or what is provided: what follows is a version


def packages(files: Sequence[bytes], release: Mapping[str, str]) -> tuple[list[Component], list[Relation]]:
    """Installed packages and who needs whom; a need such as `so:libc.musl-x86_64.so.1` is met by who provides it."""
    said = [one for content in files for one in _paragraphs(content.decode("utf-8", "replace"))]
    return linked([_installed(one, release) for one in said])


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields of packages; what follows of their folders and files (F, R, ..) is passed over."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            key, colon, value = line.partition(":")
            if colon and len(key) == 1:
                fields.setdefault(key, value.strip())
        if fields.get("P") and fields.get("V"):
            yield fields


def _installed(said: Mapping[str, str], release: Mapping[str, str]) -> Installed:
    """A need that begins with `!` is that something is not there."""
    needs = tuple((name,) for name in _names(said.get("D", "")) if not name.startswith("!"))
    return Installed(_component(said, release), needs, tuple(_names(said.get("p", ""))))


def _names(text: str) -> Iterator[str]:
    yield from (match[1] for one in text.split() if (match := _NAME.match(one)))


def _component(said: Mapping[str, str], release: Mapping[str, str]) -> Component:
    vendor = release.get("ID", "alpine")
    ref = purl("apk", said["P"], said["V"], [("arch", said.get("A", "")), ("distro", distro(release, vendor))], vendor)
    licence = said.get("L") or None
    origin = said.get("o")
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=said["P"],
        version=said["V"],
        purl=ref,
        licence=(normalise(licence) or licence) if licence else None,
        description=said.get("T") or None,
        supplier=Party(vendor),
        manufacturer=parse_party(said.get("m", "")),
        references=website(said.get("U", "")),
        properties=(("apk:origin", origin),) if origin and origin != said["P"] else (),
    )
