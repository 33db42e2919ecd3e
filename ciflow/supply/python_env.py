"""Python distributions as pip leaves them: `METADATA` of `*.dist-info` (PEP 566, 639), `PKG-INFO` of `*.egg-info`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from email.message import Message
from email.parser import HeaderParser

from ciflow.supply import licenses
from ciflow.supply.model import Component, Kind, Party, Reference, ReferenceKind, Relation
from ciflow.supply.purls import purl

FILES = re.compile(r"(?:.*/)?[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO)\Z")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)[^;]*(?:;(.*))?\Z", re.DOTALL)
_LINKS = {"source": ReferenceKind.VCS, "repository": ReferenceKind.VCS, "source code": ReferenceKind.VCS,
          "homepage": ReferenceKind.WEBSITE, "documentation": ReferenceKind.DOCUMENTATION}  # fmt: skip


def distributions(files: Sequence[tuple[str, bytes]]) -> tuple[list[Component], list[Relation]]:
    """Components, and who needs whom as far as it is installed; what only an extra needs is no need.

    A package may bring others along in a folder of its own, in other versions: whoever lies beside has the first say.
    """
    parts: list[tuple[str, Component, Message]] = []
    placed: dict[tuple[str, str], Component] = {}
    anywhere: dict[str, Component] = {}
    for path, content in sorted(files, key=lambda file: (file[0].count("/"), file[0])):
        message = HeaderParser().parsestr(content.decode("utf-8", "replace"))
        name, version = message.get("Name"), message.get("Version")
        if name and version:
            folder = path.rpartition("/")[0].rpartition("/")[0]
            component = _component(str(name), str(version), message, path)
            parts.append((folder, component, message))
            placed.setdefault((folder, normal(component.name)), component)
            anywhere.setdefault(normal(component.name), component)
    relations = []
    for folder, component, message in parts:
        for need in dict.fromkeys(_needs(message)):
            found = placed.get((folder, need)) or anywhere.get(need)
            if found is not None and found.ref != component.ref:
                relations.append(Relation(component.ref, found.ref))
    return [component for _, component, _ in parts], relations


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needs(message: Message) -> Iterable[str]:
    for text in message.get_all("Requires-Dist", []):
        match = _REQUIREMENT.match(str(text))
        if match and "extra" not in (match[2] or ""):
            yield normal(match[1])


def _component(name: str, version: str, message: Message, path: str) -> Component:
    ref = purl("pypi", normal(name), version)
    author = message.get("Author") or message.get("Maintainer")
    email = message.get("Author-email") or message.get("Maintainer-email")
    licence = _licence(message)
    page = f"https://pypi.org/project/{normal(name)}/{version}/"
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=name,
        version=version,
        purl=ref,
        licence=licence,
        concluded=licenses.normalise(licence) if licence else None,
        description=message.get("Summary"),
        supplier=Party("pypi.org"),
        manufacturer=_maker(author, email, page),
        references=tuple(_links(message)),
        properties=(("ciflow:path", path.rpartition("/")[0]),),
    )


def _maker(author: str | None, email: str | None, page: str) -> Party:
    """`Author-email` may hold names and several addresses; the first counts."""
    address = re.search(r"[^\s<>,]+@[^\s<>,]+", email or "")
    named = re.match(r"\s*\"?([^\"<>,@]+?)\"?\s*<", email or "")
    name = (author or (named[1] if named else "")).split(",")[0].strip()
    return Party(name, address[0] if address else None, None if address else page)


def _licence(message: Message) -> str | None:
    """The expression of PEP 639; else the field, where it is short; else what the classifiers say."""
    expression = message.get("License-Expression")
    if expression:
        return licenses.normalise(expression) or expression
    text = (message.get("License") or "").strip()
    if text and "\n" not in text and len(text) < 80 and text != "UNKNOWN":
        return licenses.normalise(text) or text
    names = [c.rpartition(":: ")[2] for c in message.get_all("Classifier", []) if c.startswith("License :: ")]
    return " AND ".join(names) or None


def _links(message: Message) -> Iterable[Reference]:
    pairs = [("homepage", message.get("Home-page") or "")]
    pairs += [(label.strip().lower(), url.strip()) for label, _, url in
              (text.partition(",") for text in message.get_all("Project-URL", []))]  # fmt: skip
    seen = set()
    for label, url in pairs:
        if label in _LINKS and url.startswith(("http://", "https://")) and url not in seen:
            seen.add(url)
            yield Reference(_LINKS[label], url.replace(" ", "%20"))
