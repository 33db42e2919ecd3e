"""Debian packages that are installed: `/var/lib/dpkg/status` (deb-control(5)), `status.d` of images without dpkg."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ciflow.supply.distribution import Installed, distro, linked, website
from ciflow.supply.model import Component, Kind, Party, Relation
from ciflow.supply.parties import parse_party
from ciflow.supply.purls import purl

FILES = re.compile(r"(?:.*/)?var/lib/dpkg/(?:status|status\.d/[^/]+)\Z")
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")


def packages(files: Sequence[bytes], release: Mapping[str, str]) -> tuple[list[Component], list[Relation]]:
    """Installed packages; a need is met by the first alternative that is installed, or by who provides it."""
    paragraphs = (p for content in files for p in _paragraphs(content.decode("utf-8", "replace")) if _installed(p))
    return linked([_package(paragraph, release) for paragraph in paragraphs])


def _package(paragraph: Mapping[str, str], release: Mapping[str, str]) -> Installed:
    provided = tuple(_names(paragraph.get("Provides", "")))
    return Installed(_component(paragraph, release), tuple(_needs(paragraph)), provided)


def _needs(paragraph: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for field in ("Pre-Depends", "Depends"):
        for choice in filter(None, paragraph.get(field, "").split(",")):
            yield tuple(_names(choice.replace("|", ",")))


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + line.strip()
            else:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if fields.get("Package") and fields.get("Version"):
            yield fields


def _installed(paragraph: Mapping[str, str]) -> bool:
    """`status.d` has no Status; a package that was removed and left its settings is not there."""
    return paragraph.get("Status", "install ok installed").endswith(" installed")


def _names(text: str) -> Iterable[str]:
    return [match[1] for one in text.split(",") if (match := _NAME.match(one))]


def _component(paragraph: Mapping[str, str], release: Mapping[str, str]) -> Component:
    name, version = paragraph["Package"], paragraph["Version"]
    vendor = release.get("ID", "debian")
    qualifiers = [("arch", paragraph.get("Architecture", "")), ("distro", distro(release, vendor))]
    ref = purl("deb", name, version, qualifiers, vendor)
    source = re.match(r"(\S+)(?: \((\S+)\))?", paragraph.get("Source", ""))
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=name,
        version=version,
        purl=ref,
        description=paragraph.get("Description", "").split("\n")[0] or None,
        supplier=Party(vendor),
        manufacturer=parse_party(paragraph.get("Maintainer", "")),
        references=website(paragraph.get("Homepage", "")),
        properties=(("deb:source", " ".join(filter(None, source.groups()))),) if source else (),
    )
