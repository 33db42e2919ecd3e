"""What the packages of Linux distributions have in common: the system they are of, and needs that somebody provides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ciflow.dataclass import dataclass
from ciflow.supply.model import Component, Kind, Reference, ReferenceKind, Relation
from ciflow.supply.purls import purl

OS_RELEASE = re.compile(r"(?:etc|usr/lib)/os-release\Z")


@dataclass(frozen=True)
class Installed:
    """A package. Each of `needs` is met by the first of its alternatives that is installed, or by who provides it."""

    component: Component
    needs: tuple[tuple[str, ...], ...] = ()
    provides: tuple[str, ...] = ()


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
    title, page = release.get("PRETTY_NAME"), release.get("HOME_URL", "")
    return Component(ref, Kind.OPERATING_SYSTEM, name, version, ref, description=title, references=website(page))


def distro(release: Mapping[str, str], vendor: str) -> str:
    """The qualifier of a package URL: `debian-12`."""
    number = release.get("VERSION_ID")
    return f"{vendor}-{number}" if number else vendor


def website(page: str) -> tuple[Reference, ...]:
    return (Reference(ReferenceKind.WEBSITE, page),) if page.startswith("http") else ()


def linked(packages: Sequence[Installed]) -> tuple[list[Component], list[Relation]]:
    """The packages and who needs whom. A need that nobody meets is left out: it was not installed."""
    parts: dict[str, Component] = {}
    providers: dict[str, Component] = {}
    for one in packages:
        parts.setdefault(one.component.name, one.component)
        for name in one.provides:
            providers.setdefault(name, one.component)
    relations: dict[Relation, None] = {}
    for one in packages:
        for choice in one.needs:
            found = (parts.get(name) or providers.get(name) for name in choice)
            needed = next((component for component in found if component is not None), None)
            if needed is not None and needed.name != one.component.name:
                relations[Relation(one.component.ref, needed.ref)] = None
    return list({one.component.ref: one.component for one in packages}.values()), list(relations)
