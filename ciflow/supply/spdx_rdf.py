"""SPDX trees as RDF/XML: https://spdx.github.io/spdx-spec/v2.3/ (annex C), https://www.w3.org/TR/rdf-syntax-grammar/."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ciflow.supply import licenses
from ciflow.supply.bounded import Element, read_xml
from ciflow.supply.errors import DocumentError
from ciflow.supply.spdx import NONE
from ciflow.supply.xmlwriter import XmlWriter

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SPDX = "http://spdx.org/rdf/terms#"
_LICENSES = "http://spdx.org/licenses/"
_REFERENCES = "http://spdx.org/rdf/references/"
_SPACES = {
    "xmlns:rdf": _RDF,
    "xmlns:rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "xmlns:spdx": _SPDX,
    "xmlns:doap": "http://usefulinc.com/ns/doap#",
}
_KNOWN_LINKS = {"purl", "cpe22Type", "cpe23Type", "swid", "npm", "nuget", "bower", "maven-central", "gitoid", "swh"}
# (field of the tree, property), for texts as they are
_PACKAGE = (
    ("name", "spdx:name"), ("versionInfo", "spdx:versionInfo"), ("packageFileName", "spdx:packageFileName"),
    ("supplier", "spdx:supplier"), ("originator", "spdx:originator"), ("sourceInfo", "spdx:sourceInfo"),
    ("copyrightText", "spdx:copyrightText"), ("summary", "spdx:summary"), ("description", "spdx:description"),
    ("comment", "rdfs:comment"), ("homepage", "doap:homepage"), ("downloadLocation", "spdx:downloadLocation"),
)  # fmt: skip
_SETS = {"AND": "spdx:ConjunctiveLicenseSet", "OR": "spdx:DisjunctiveLicenseSet", "WITH": "spdx:WithExceptionOperator"}
_Leaf = tuple[str, str | None, dict[str, str] | None]
_WORDS = {"noassertion": NONE, "none": "NONE"}


def encode(tree: Mapping[str, Any]) -> bytes:
    """The document of a tree."""
    writer = _Writer(str(tree["documentNamespace"]))
    return writer.document(tree)


class _Writer:
    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._xml = XmlWriter()

    def document(self, tree: Mapping[str, Any]) -> bytes:
        xml = self._xml
        links: dict[str, list[Mapping[str, str]]] = {}
        for one in tree.get("relationships", ()):
            links.setdefault(one["spdxElementId"], []).append(one)
        xml.start("rdf:RDF", _SPACES)
        xml.start("spdx:SpdxDocument", self._about(tree["SPDXID"]))
        xml.leaf("spdx:specVersion", tree["spdxVersion"])
        xml.leaf("spdx:name", tree["name"])
        xml.leaf("spdx:dataLicense", None, _resource(_LICENSES + tree["dataLicense"]))
        self._creation(tree["creationInfo"])
        for extracted in tree.get("hasExtractedLicensingInfos", ()):
            self._extracted(extracted)
        self._common(tree, links)
        xml.end()
        for package in tree.get("packages", ()):
            xml.start("spdx:Package", self._about(package["SPDXID"]))
            self._package(package)
            self._common(package, links)
            xml.end()
        xml.end()
        return xml.content()

    def _about(self, id_: str) -> dict[str, str]:
        return {"rdf:about": f"{self._namespace}#{id_}"}

    def _node(self, around: str, kind: str, leaves: Sequence[_Leaf]) -> None:
        """A node without a name, at the end of a property."""
        self._xml.start(around)
        self._xml.start(kind)
        for leaf in leaves:
            self._xml.leaf(*leaf)
        self._xml.end()
        self._xml.end()

    def _creation(self, info: Mapping[str, Any]) -> None:
        leaves: list[_Leaf] = [("spdx:created", info["created"], None)]
        leaves += [("spdx:creator", creator, None) for creator in info["creators"]]
        leaves += [("rdfs:comment", info["comment"], None)] if "comment" in info else []
        self._node("spdx:creationInfo", "spdx:CreationInfo", leaves)

    def _extracted(self, extracted: Mapping[str, str]) -> None:
        self._xml.start("spdx:hasExtractedLicensingInfo")
        self._xml.start("spdx:ExtractedLicensingInfo", self._about(extracted["licenseId"]))
        for field in ("licenseId", "name", "extractedText"):
            self._xml.leaf(f"spdx:{field}", extracted[field])
        self._xml.end()
        self._xml.end()

    def _common(self, values: Mapping[str, Any], links: Mapping[str, list[Mapping[str, str]]]) -> None:
        """Annotations and relationships, which documents and packages have alike."""
        for note in values.get("annotations", ()):
            kind = _resource(f"{_SPDX}annotationType_{_camel(note['annotationType'])}")
            self._node("spdx:annotation", "spdx:Annotation", [
                ("spdx:annotationType", None, kind), ("spdx:annotator", note["annotator"], None),
                ("spdx:annotationDate", note["annotationDate"], None), ("rdfs:comment", note["comment"], None),
            ])  # fmt: skip
        for link in links.get(values["SPDXID"], ()):
            target = _resource(f"{self._namespace}#{link['relatedSpdxElement']}")
            kind = _resource(f"{_SPDX}relationshipType_{_camel(link['relationshipType'])}")
            leaves = [("spdx:relationshipType", None, kind), ("spdx:relatedSpdxElement", None, target)]
            self._node("spdx:relationship", "spdx:Relationship", leaves)

    def _package(self, package: Mapping[str, Any]) -> None:
        for field, name in _PACKAGE:
            if field in package:
                word = {value: key for key, value in _WORDS.items()}.get(package[field])
                if word and field in ("downloadLocation", "copyrightText"):
                    self._xml.leaf(name, None, _resource(_SPDX + word))
                else:
                    self._xml.leaf(name, package[field])
        self._xml.leaf("spdx:filesAnalyzed", str(package.get("filesAnalyzed", True)).lower(),
                       {"rdf:datatype": "http://www.w3.org/2001/XMLSchema#boolean"})  # fmt: skip
        if purpose := package.get("primaryPackagePurpose"):
            self._xml.leaf("spdx:primaryPackagePurpose", None, _resource(f"{_SPDX}purpose_{_camel(purpose)}"))
        for one in package.get("checksums", ()):
            word = one["algorithm"].lower().replace("-", "_" if one["algorithm"].startswith("SHA3") else "")
            algorithm = _resource(f"{_SPDX}checksumAlgorithm_{word}")
            leaves = [("spdx:algorithm", None, algorithm), ("spdx:checksumValue", one["checksumValue"], None)]
            self._node("spdx:checksum", "spdx:Checksum", leaves)
        for link in package.get("externalRefs", ()):
            self._link(link)
        for field in ("licenseConcluded", "licenseDeclared"):
            self._licence(f"spdx:{field}", package.get(field, NONE))

    def _link(self, link: Mapping[str, str]) -> None:
        kind = link["referenceType"]
        place = _REFERENCES + kind if kind in _KNOWN_LINKS else f"{self._namespace}#{kind}"
        category = _resource(f"{_SPDX}referenceCategory_{_camel(link['referenceCategory'])}")
        self._node("spdx:externalRef", "spdx:ExternalRef", [
            ("spdx:referenceCategory", None, category), ("spdx:referenceType", None, _resource(place)),
            ("spdx:referenceLocator", link["referenceLocator"], None),
        ])  # fmt: skip

    def _licence(self, name: str, expression: str) -> None:
        word = {value: key for key, value in _WORDS.items()}.get(expression)
        if word:
            self._xml.leaf(name, None, _resource(_SPDX + word))
        else:
            self._term(name, licenses.tree(expression))

    def _term(self, name: str, term: licenses.Tree) -> None:
        if isinstance(term, str):
            own = term.startswith("LicenseRef-")
            self._xml.leaf(name, None, _resource(f"{self._namespace}#{term}" if own else _LICENSES + term))
            return
        operator, parts = term
        self._xml.start(name)
        self._xml.start(_SETS[operator])
        for number, part in enumerate(parts):
            if operator == "WITH" and number == 1:
                self._xml.start("spdx:licenseException")
                self._xml.leaf("spdx:LicenseException", None, {"rdf:about": f"{_LICENSES}{part}"})
                self._xml.end()
            else:
                self._term("spdx:member", part)
        self._xml.end()
        self._xml.end()


def _resource(place: str) -> dict[str, str]:
    return {"rdf:resource": place}


def _camel(word: str) -> str:
    first, *rest = re.split(r"[-_]", word.lower())
    return first + "".join(part.capitalize() for part in rest)


def _upper(word: str, between: str = "_") -> str:
    return re.sub(r"([A-Z])", rf"{between}\1", word).upper()


def decode(content: bytes) -> dict[str, Any]:
    """The tree of a document.

    Raises:
        DocumentError: no RDF/XML, or not of SPDX; with the line.
    """
    return _Reader(read_xml(content)).tree()


class _Node:
    """What is said of one thing: (property, text or name of another thing), in the order of the document."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.kind = ""
        self.said: list[tuple[str, str, bool]] = []  # property, value, whether it names a thing

    def texts(self, name: str) -> list[str]:
        return [value for key, value, _ in self.said if key == name]

    def text(self, name: str) -> str | None:
        return next(iter(self.texts(name)), None)


class _Reader:
    def __init__(self, root: Element) -> None:
        self._nodes: dict[str, _Node] = {}
        if root.name != f"{_RDF} RDF":
            raise DocumentError(f"line {root.line}: <{root.local}> is no RDF")
        for element in root.children:
            self._take(element)

    def _take(self, element: Element) -> str:
        """A node with its properties; gives its name."""
        given = element.attributes
        blank = given.get(f"{_RDF} nodeID")
        name = given.get(f"{_RDF} about") or (f"_:{blank}" if blank else f"_:line{element.line}-{len(self._nodes)}")
        node = self._nodes.setdefault(name, _Node(element.line))
        if element.name != f"{_RDF} Description":
            node.kind = element.local
        for key, value in given.items():
            if not key.startswith(_RDF):
                node.said.append((key.rpartition(" ")[2], value, False))
        for child in element.children:
            if child.name == f"{_RDF} type":
                node.kind = child.attributes.get(f"{_RDF} resource", "").rpartition("#")[2]
            else:
                node.said.append(self._property(child))
        return name

    def _property(self, child: Element) -> tuple[str, str, bool]:
        resource, blank = child.attributes.get(f"{_RDF} resource"), child.attributes.get(f"{_RDF} nodeID")
        if resource is not None:
            return child.local, resource, True
        if blank is not None:
            return child.local, f"_:{blank}", True
        if child.children:
            return child.local, self._take(child.children[0]), True
        return child.local, child.text, False

    def _of(self, node: _Node, name: str) -> Iterator[_Node]:
        return (self._nodes[key] for key in node.texts(name) if key in self._nodes)

    def tree(self) -> dict[str, Any]:
        found = [(name, node) for name, node in self._nodes.items() if node.kind == "SpdxDocument"]
        if len(found) != 1:
            raise DocumentError(f"line 1: {len(found)} documents of SPDX are in it; one is needed")
        name, document = found[0]
        info = next(self._of(document, "creationInfo"), _Node(0))
        packages = [(key, node) for key, node in self._nodes.items() if node.kind == "Package"]
        tree = {
            "spdxVersion": document.text("specVersion"),
            "SPDXID": _local(name),
            "name": document.text("name"),
            "documentNamespace": name.partition("#")[0],
            "creationInfo": {
                "created": info.text("created"),
                "creators": info.texts("creator"),
                "comment": info.text("comment"),
            },
            "packages": [self._package(key, node) for key, node in packages],
            "relationships": [*self._links(name, document), *(r for key, n in packages for r in self._links(key, n))],
            "annotations": self._notes(document),
            "hasExtractedLicensingInfos": [
                {"licenseId": node.text("licenseId") or _local(key), "extractedText": node.text("extractedText")}
                for key, node in self._nodes.items()
                if node.kind == "ExtractedLicensingInfo"
            ],
        }
        if any(node.kind in ("File", "Snippet") for node in self._nodes.values()):
            tree["files"] = []
        return {key: value for key, value in tree.items() if value is not None}

    def _package(self, key: str, node: _Node) -> dict[str, Any]:
        package: dict[str, Any] = {"SPDXID": _local(key)}
        for field, name in _PACKAGE:
            package[field] = _word(node.text(name.partition(":")[2]))
        purpose = node.text("primaryPackagePurpose")
        package["primaryPackagePurpose"] = _upper(_local(purpose).removeprefix("purpose_"), "-") if purpose else None
        package["checksums"] = [
            {"algorithm": _algorithm(one.text("algorithm") or ""), "checksumValue": one.text("checksumValue") or ""}
            for one in self._of(node, "checksum")
        ]
        package["externalRefs"] = [self._reference(one) for one in self._of(node, "externalRef")]
        package["annotations"] = self._notes(node)
        for field in ("licenseConcluded", "licenseDeclared"):
            said = node.text(field)
            package[field] = licenses.text(self._term(said, 0)) if said else None
        return {field: value for field, value in package.items() if value is not None}

    def _reference(self, one: _Node) -> dict[str, str]:
        kind = one.text("referenceType") or ""
        category = _local(one.text("referenceCategory") or "").removeprefix("referenceCategory_")
        return {
            "referenceCategory": _upper(category, "-"),
            "referenceType": kind.removeprefix(_REFERENCES).rpartition("#")[2],
            "referenceLocator": one.text("referenceLocator") or "",
        }

    def _notes(self, node: _Node) -> list[dict[str, str]]:
        return [
            {"annotator": one.text("annotator") or "", "annotationDate": one.text("annotationDate") or "",
             "annotationType": "OTHER", "comment": one.text("comment") or ""}
            for one in self._of(node, "annotation")
        ]  # fmt: skip

    def _links(self, name: str, node: _Node) -> Iterator[dict[str, str]]:
        for one in self._of(node, "relationship"):
            kind = _local(one.text("relationshipType") or "").removeprefix("relationshipType_")
            yield {
                "spdxElementId": _local(name),
                "relationshipType": _upper(kind),
                "relatedSpdxElement": _local(one.text("relatedSpdxElement") or ""),
            }

    def _term(self, name: str, depth: int) -> licenses.Tree:
        """A licence, or a set of them."""
        node = self._nodes.get(name)
        if node is None or node.kind not in ("ConjunctiveLicenseSet", "DisjunctiveLicenseSet", "WithExceptionOperator"):
            return _word(name.removeprefix(_LICENSES) if name.startswith(_LICENSES) else name) or ""
        if depth > 50:
            raise DocumentError(f"line {node.line}: licences are nested deeper than 50 levels")
        members = tuple(self._term(one, depth + 1) for one in node.texts("member"))
        if node.kind == "WithExceptionOperator":
            exception = node.text("licenseException") or ""
            return "WITH", (*members, exception.removeprefix(_LICENSES))
        return ("AND" if node.kind.startswith("Con") else "OR"), members


def _local(name: str) -> str:
    return name.rpartition("#")[2]


def _word(value: str | None) -> str | None:
    """`noassertion` and `none` are things of SPDX; what else is named is told by its last part."""
    if value is None or not value.startswith(("http://spdx.org/rdf/terms#", "https://spdx.org/spdxdocs/", "_:")):
        return value
    return _WORDS.get(_local(value), _local(value))


def _algorithm(place: str) -> str:
    word = _local(place).removeprefix("checksumAlgorithm_")
    if word.startswith("blake2b"):
        return f"BLAKE2b-{word[7:]}"
    return word.upper().replace("_", "-")
