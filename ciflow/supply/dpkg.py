"""Debian packages that are installed: `/var/lib/dpkg/status` (deb-control(5)), `status.d` of images without dpkg."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ciflow.supply.model import Component, Kind, Party, Reference, ReferenceKind, Relation
from ciflow.supply.parties import parse_party
from ciflow.supply.purls import purl

FILES = re.compile(r"(?:.*/)?var/lib/dpkg/(?:status|status\.d/[^/]+)\Z")
OS_RELEASE = re.compile(r"(?:etc|usr/lib)/os-release\Z")
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")


def os_release(content: bytes) -> dict[str, str]:
    """os-release(5): `KEY=value`, quoted or not."""
    lines = (line.partition("=") for line in content.decode("utf-8", "replace").splitlines())
    return {key.strip(): value.strip().strip("\"'") for key, equals, value in lines if equals}


def system(release: Mapping[str, str]) -> Component | None:
    """The operating system as a component."""
    name, version = release.get("ID"), release.get("VERSION_ID")
    if not name:
        return None
    ref = purl("generic", name, version)
    page = release.get("HOME_URL", "")
    links = (Reference(ReferenceKind.WEBSITE, page),) if page.startswith("http") else ()
    title = release.get("PRETTY_NAME")
    return Component(ref, Kind.OPERATING_SYSTEM, name, version, ref, description=title, references=links)


def packages(files: Sequence[bytes], release: Mapping[str, str]) -> tuple[list[Component], list[Relation]]:
    """Installed packages; a need is met by the first alternative that is installed, or by who provides it."""
    paragraphs = [p for content in files for p in _paragraphs(content.decode("utf-8", "replace")) if _installed(p)]
    parts = {p["Package"]: _component(p, release) for p in paragraphs}
    providers = {name: p["Package"] for p in paragraphs for name in _names(p.get("Provides", ""))}
    relations: dict[Relation, None] = {}
    for paragraph in paragraphs:
        for field in ("Pre-Depends", "Depends"):
            for choice in filter(None, paragraph.get(field, "").split(",")):
                target = next((n for n in _names(choice.replace("|", ",")) if n in parts or n in providers), None)
                if target is not None:
                    needed = parts[target if target in parts else providers[target]]
                    if needed.name != paragraph["Package"]:
                        relations[Relation(parts[paragraph["Package"]].ref, needed.ref)] = None
    return list(parts.values()), list(relations)


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
    vendor, number = release.get("ID", "debian"), release.get("VERSION_ID")
    distro = f"{vendor}-{number}" if number else vendor
    ref = purl("deb", name, version, [("arch", paragraph.get("Architecture", "")), ("distro", distro)], vendor)
    page = paragraph.get("Homepage", "")
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
        references=(Reference(ReferenceKind.WEBSITE, page),) if page.startswith("http") else (),
        properties=(("deb:source", " ".join(filter(None, source.groups()))),) if source else (),
    )
