"""npm's `package-lock.json`, versions 1 to 3: https://docs.npmjs.com/cli/configuring-npm/package-lock-json."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ciflow.supply import bounded, licenses
from ciflow.supply.errors import DocumentError
from ciflow.supply.fields import Fields
from ciflow.supply.model import (
    Component,
    Deployable,
    Hash,
    Kind,
    Party,
    Reference,
    ReferenceKind,
    Relation,
    Scope,
)
from ciflow.supply.purls import purl

FILES = re.compile(r"(?:.*/)?package-lock\.json\Z")
_NEEDS = ("dependencies", "optionalDependencies", "peerDependencies")


def packages(content: bytes) -> tuple[list[Component], list[Relation]]:
    """The project itself first, then what is locked; what only development needs is excluded.

    Raises:
        DocumentError: not a lock of npm's.
    """
    top = Fields.of(bounded.read_json(content), "")
    known = top.raw("packages")
    places = _flat(top.raw("dependencies") or {}, "") if known is None else known
    if not isinstance(places, dict) or not all(isinstance(one, dict) for one in places.values()):
        raise DocumentError("/packages: an object of objects is needed here")
    root = {"name": top.maybe("name"), "version": top.maybe("version"), **places.get("", {})}
    parts = {"": _project(root)}
    for place, raw in sorted(places.items()):
        if place and not raw.get("link") and "node_modules/" in place:
            parts[place] = _component(place, Fields.of(raw, f"/packages/{place}"))
    merged = {place: part.ref for place, part in parts.items()}
    relations = {
        Relation(part.ref, merged[target])
        for place, part in parts.items()
        for target in _targets(place, root if not place else places[place], merged)
        if merged[target] != part.ref
    }
    ordered = sorted(relations, key=lambda r: (r.source, r.target))
    return list({part.ref: part for part in parts.values()}.values()), ordered


def _flat(tree: Mapping[str, Any], above: str) -> dict[str, Any]:
    """Version 1 nests what later versions say by paths; `requires` are the needs."""
    found: dict[str, Any] = {}
    waiting = [(tree, above)]
    while waiting:
        here, prefix = waiting.pop()
        for name, raw in here.items():
            if not isinstance(raw, dict):
                raise DocumentError(f"/dependencies/{name}: an object is needed here")
            place = f"{prefix}node_modules/{name}"
            found[place] = {**raw, "dependencies": raw.get("requires") or {}}
            if isinstance(raw.get("dependencies"), dict):
                waiting.append((raw["dependencies"], place + "/"))
    return found


def _project(root: Mapping[str, Any]) -> Component:
    name, version = str(root.get("name") or "project"), root.get("version")
    ref = _purl(name, str(version) if version else None)
    return Component(ref, Kind.APPLICATION, name, str(version) if version else None, ref)


def _component(place: str, raw: Fields) -> Component:
    name = raw.maybe("name") or place.rpartition("node_modules/")[2]
    version, resolved = raw.maybe("version"), raw.maybe("resolved") or ""
    ref = _purl(name, version)
    licence = raw.raw("license")
    text = licence if isinstance(licence, str) else None
    expression = licenses.normalise(text) if text else None
    fetched = resolved if resolved.startswith("https://") else None
    hashes = tuple(_hashes(raw.maybe("integrity") or ""))
    scope = Scope.EXCLUDED if raw.raw("dev") else Scope.OPTIONAL if raw.raw("optional") else Scope.REQUIRED
    return Component(
        ref=ref,
        kind=Kind.LIBRARY,
        name=name,
        version=version,
        purl=ref,
        scope=scope,
        hashes=hashes,
        licence=expression or text,
        concluded=expression,
        supplier=Party(fetched.split("/")[2]) if fetched else None,
        manufacturer=Party("", url=f"https://www.npmjs.com/package/{name}"),
        references=(Reference(ReferenceKind.DISTRIBUTION, fetched, hashes),) if fetched else (),
        download=resolved if fetched or resolved.startswith("git+") else None,
        file=Deployable(fetched.rpartition("/")[2], archive=True, structured=True) if fetched else None,
    )


def _purl(name: str, version: str | None) -> str:
    namespace, _, plain = name.rpartition("/")
    return purl("npm", plain, version, namespace=namespace)


def _hashes(integrity: str) -> Iterator[Hash]:
    """Subresource integrity: `sha512-BASE64`, several with blanks between."""
    for word in integrity.split():
        algorithm, _, value = word.partition("-")
        names = {"sha1": "SHA-1", "sha256": "SHA-256", "sha384": "SHA-384", "sha512": "SHA-512"}
        if algorithm in names:
            try:
                yield Hash(names[algorithm], base64.b64decode(value, validate=True).hex())
            except binascii.Error as e:
                raise DocumentError(f"integrity {word!r} is no base64") from e


def _targets(place: str, raw: Mapping[str, Any], parts: Mapping[str, str]) -> Iterator[str]:
    """Where Node looks for each need: in the folder itself, then in those above it."""
    fields = (*_NEEDS, "devDependencies") if not place else _NEEDS
    for name in dict.fromkeys(name for field in fields for name in (raw.get(field) or {})):
        at = place
        while True:
            candidate = f"{at}/node_modules/{name}" if at else f"node_modules/{name}"
            if candidate in parts:
                yield candidate
                break
            if not at:
                break
            at = at.rpartition("node_modules/")[0].rstrip("/")
