"""SPDX trees as tags and values: https://spdx.github.io/spdx-spec/v2.3/ (each clause, "Format")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ciflow.supply.bounded import text_of
from ciflow.supply.errors import DocumentError

# (tag, field); lists are repeated tags. What is made of several fields is written and read below.
_DOCUMENT = (("SPDXVersion", "spdxVersion"), ("DataLicense", "dataLicense"), ("SPDXID", "SPDXID"),
             ("DocumentName", "name"), ("DocumentNamespace", "documentNamespace"))  # fmt: skip
_CREATION = (("Creator", "creators"), ("Created", "created"), ("CreatorComment", "comment"),
             ("LicenseListVersion", "licenseListVersion"))  # fmt: skip
_PACKAGE = (
    ("PackageName", "name"), ("SPDXID", "SPDXID"), ("PackageVersion", "versionInfo"),
    ("PackageFileName", "packageFileName"), ("PackageSupplier", "supplier"), ("PackageOriginator", "originator"),
    ("PackageDownloadLocation", "downloadLocation"), ("FilesAnalyzed", "filesAnalyzed"),
    ("PrimaryPackagePurpose", "primaryPackagePurpose"), ("PackageChecksum", "checksums"),
    ("PackageHomePage", "homepage"), ("PackageSourceInfo", "sourceInfo"),
    ("PackageLicenseConcluded", "licenseConcluded"), ("PackageLicenseDeclared", "licenseDeclared"),
    ("PackageCopyrightText", "copyrightText"), ("PackageDescription", "description"),
    ("PackageComment", "comment"), ("ExternalRef", "externalRefs"),
)  # fmt: skip
_EXTRACTED = (("LicenseID", "licenseId"), ("LicenseName", "name"), ("ExtractedText", "extractedText"))
_LONG = {"CreatorComment", "PackageCopyrightText", "PackageDescription", "PackageComment", "ExtractedText",
         "AnnotationComment", "PackageSourceInfo"}  # fmt: skip


def encode(tree: Mapping[str, Any]) -> bytes:
    """The document of a tree."""
    lines = [*_tags(_DOCUMENT, tree), *_tags(_CREATION, tree["creationInfo"])]
    lines += _annotations(tree, tree["SPDXID"])
    for package in tree.get("packages", ()):
        lines += ["", *_tags(_PACKAGE, package), *_annotations(package, package["SPDXID"])]
    lines += [""]
    for one in tree.get("relationships", ()):
        words = one["spdxElementId"], one["relationshipType"], one["relatedSpdxElement"]
        lines.append("Relationship: " + " ".join(words))
    for extracted in tree.get("hasExtractedLicensingInfos", ()):
        lines += ["", *_tags(_EXTRACTED, extracted)]
    return ("\n".join(lines) + "\n").encode()


def _tags(fields: Iterable[tuple[str, str]], values: Mapping[str, Any]) -> Iterator[str]:
    for tag, field in fields:
        value = values.get(field)
        for one in value if isinstance(value, list) else () if value is None else (value,):
            yield f"{tag}: {_line(tag, one)}"


def _line(tag: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if tag == "PackageChecksum":
        return f"{value['algorithm']}: {value['checksumValue']}"
    if tag == "ExternalRef":
        return f"{value['referenceCategory']} {value['referenceType']} {value['referenceLocator']}"
    text = str(value).replace("</text>", "<\u200b/text>")
    plain = tag not in _LONG or text in ("NOASSERTION", "NONE")
    return " ".join(text.split("\n")) if plain else f"<text>{text}</text>"


def _annotations(values: Mapping[str, Any], id_: str) -> Iterator[str]:
    for note in values.get("annotations", ()):
        yield f"Annotator: {note['annotator']}"
        yield f"AnnotationDate: {note['annotationDate']}"
        yield f"AnnotationComment: <text>{note['comment']}</text>"
        yield f"AnnotationType: {note['annotationType']}"
        yield f"SPDXREF: {id_}"


def decode(content: bytes) -> dict[str, Any]:
    """The tree of a document. Tags that are not known here keep their names, so that they are told.

    Raises:
        DocumentError: with the line.
    """
    reader = _Reader()
    for line, tag, value in _pairs(text_of(content)):
        reader.take(line, tag, value)
    return reader.tree


def _pairs(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, tag, value); a value in `<text>` may have several lines."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line, start = lines[at].strip("\r"), at + 1
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        tag, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z]+", tag.strip()):
            raise DocumentError(f"line {start}: `Tag: value` is needed here")
        value = value.strip()
        if value.startswith("<text>"):
            parts = [value.removeprefix("<text>")]
            while "</text>" not in parts[-1]:
                if at == len(lines):
                    raise DocumentError(f"line {start}: <text> is not closed")
                parts.append(lines[at])
                at += 1
            value = "\n".join(parts).partition("</text>")[0]
        yield start, tag.strip(), value


class _Reader:
    """Puts tags where they belong: to the document, or to the package or licence that was begun last."""

    def __init__(self) -> None:
        self._info: dict[str, Any] = {}
        self.tree: dict[str, Any] = {"creationInfo": self._info}
        self._package: dict[str, Any] | None = None
        self._extracted: dict[str, Any] = {}
        self._note: dict[str, Any] = {}
        self._by_id: dict[str, dict[str, Any]] = {}

    def take(self, line: int, tag: str, value: str) -> None:
        if tag in ("FileName", "SnippetSPDXID"):
            raise DocumentError(f"line {line}: {tag}: files and snippets are not read in this format")
        if tag == "PackageName":
            self._package = {}
            self.tree.setdefault("packages", []).append(self._package)
        if tag == "LicenseID":
            self._extracted = {}
            self.tree.setdefault("hasExtractedLicensingInfos", []).append(self._extracted)
        if tag == "Relationship":
            self._relationship(line, value)
        elif tag.startswith("Annot") or tag == "SPDXREF":
            self._annotation(tag, value)
        else:
            self._field(line, tag, value)

    def _field(self, line: int, tag: str, value: str) -> None:
        for fields, values in ((_EXTRACTED, self._extracted), (_CREATION, self._info)):
            if name := dict(fields).get(tag):
                _put(values, tag, name, value, line)
                return
        package = self._package
        name = dict(_PACKAGE if package is not None else _DOCUMENT).get(tag)
        values = self.tree if package is None else package
        _put(values, tag, name or tag, value, line)
        if tag == "SPDXID":
            self._by_id[value] = values

    def _relationship(self, line: int, value: str) -> None:
        words = value.split()
        if len(words) != 3:
            raise DocumentError(f"line {line}: a relationship has three words")
        names = ("spdxElementId", "relationshipType", "relatedSpdxElement")
        self.tree.setdefault("relationships", []).append(dict(zip(names, words, strict=True)))

    def _annotation(self, tag: str, value: str) -> None:
        """They name what they are about at the end, wherever they stand."""
        if tag == "Annotator":
            self._note = {}
        if tag != "SPDXREF":
            self._note[tag[0].lower() + tag[1:] if tag != "AnnotationComment" else "comment"] = value
        else:
            self._by_id.get(value, self.tree).setdefault("annotations", []).append(self._note)


def _put(values: dict[str, Any], tag: str, name: str, value: str, line: int) -> None:
    if tag == "PackageChecksum":
        algorithm, _, digest = value.partition(":")
        values.setdefault(name, []).append({"algorithm": algorithm.strip(), "checksumValue": digest.strip()})
    elif tag == "ExternalRef":
        words = value.split(None, 2)
        if len(words) != 3:
            raise DocumentError(f"line {line}: an external reference has a category, a type and a locator")
        names = ("referenceCategory", "referenceType", "referenceLocator")
        values.setdefault(name, []).append(dict(zip(names, words, strict=True)))
    elif tag == "Creator":
        values.setdefault(name, []).append(value)
    else:
        values[name] = value == "true" if tag == "FilesAnalyzed" else value
