"""How the fields of a CycloneDX tree are called in XML and numbered in protocol buffers, versions 1.6 and 1.7.

From `bom-1.7.xsd` and `bom-1.7.proto` of the specification. Fields stand in the order that the XML schema wants.
What is not here is not in this project's model either, and is told as left out when it is read.
"""

from __future__ import annotations

from ciflow.dataclass import dataclass
from ciflow.supply.model import Kind, Phase

TEXT, NUMBER, TIME, REF = "text", "number", "time", "ref"


@dataclass(frozen=True)
class Words:
    """An enumeration; the place of a word is its number."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """One field of a message.

    `xml`: `@name` an attribute, `.` the element's own text, `name` an element (each of many), `outer/name` elements
    in one around them, `name@ref` empty elements with an attribute. Number 0: not in protocol buffers.
    """

    key: str
    number: int
    type: str | Words
    xml: str
    many: bool = False


Message = tuple[Field, ...]

_KINDS = Words(("", *(kind.value for kind in Kind)))
_SCOPES = Words(("", "required", "optional", "excluded"))
_PHASES = Words(tuple(phase.value for phase in Phase))
_ACKNOWLEDGED = Words(("", "declared", "concluded"))
_AGGREGATES = Words(
    (
        "not_specified", "complete", "incomplete", "incomplete_first_party_only", "incomplete_third_party_only",
        "unknown", "incomplete_first_party_proprietary_only", "incomplete_first_party_opensource_only",
        "incomplete_third_party_proprietary_only", "incomplete_third_party_opensource_only",
    )
)  # fmt: skip
_HASHES = Words(
    (
        "", "MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-384", "SHA3-512",
        "BLAKE2b-256", "BLAKE2b-384", "BLAKE2b-512", "BLAKE3", "Streebog-256", "Streebog-512",
    )
)  # fmt: skip
_LINKS = Words(
    (
        "other", "vcs", "issue-tracker", "website", "advisories", "bom", "mailing-list", "social", "chat",
        "documentation", "support", "distribution", "license", "build-meta", "build-system", "security-contact",
        "attestation", "threat-model", "adversary-model", "risk-assessment", "distribution-intake",
        "vulnerability-assertion", "exploitability-statement", "pentest-report", "static-analysis-report",
        "dynamic-analysis-report", "runtime-analysis-report", "component-analysis-report", "maturity-report",
        "certification-report", "quality-metrics", "codified-infrastructure", "model-card", "poam", "log",
        "configuration", "evidence", "formulation", "source-distribution", "electronic-signature",
        "digital-signature", "rfc-9116", "release-notes", "patent", "patent-family", "patent-assertion", "citation",
    )
)  # fmt: skip

MESSAGES: dict[str, Message] = {
    "bom": (
        Field("specVersion", 1, TEXT, ""),
        Field("version", 2, NUMBER, "@version"),
        Field("serialNumber", 3, TEXT, "@serialNumber"),
        Field("metadata", 4, "metadata", "metadata"),
        Field("components", 5, "component", "components/component", many=True),
        Field("dependencies", 8, "dependency", "dependencies/dependency", many=True),
        Field("compositions", 9, "composition", "compositions/composition", many=True),
        Field("properties", 12, "property", "properties/property", many=True),
    ),
    "metadata": (
        Field("timestamp", 1, TIME, "timestamp"),
        Field("lifecycles", 9, "lifecycle", "lifecycles/lifecycle", many=True),
        Field("tools", 2, "tools", "tools"),
        Field("authors", 3, "contact", "authors/author", many=True),
        Field("component", 4, "component", "component"),
        Field("manufacturer", 10, "organisation", "manufacturer"),
        Field("supplier", 6, "organisation", "supplier"),
        Field("licenses", 7, "choice", "licenses/", many=True),
        Field("properties", 8, "property", "properties/property", many=True),
    ),
    "lifecycle": (Field("phase", 1, _PHASES, "phase"), Field("name", 2, TEXT, "name")),
    "tools": (Field("components", 6, "component", "components/component", many=True),),
    "contact": (Field("name", 1, TEXT, "name"), Field("email", 2, TEXT, "email"), Field("phone", 3, TEXT, "phone")),
    "organisation": (
        Field("name", 1, TEXT, "name"),
        Field("url", 2, TEXT, "url", many=True),
        Field("contact", 3, "contact", "contact", many=True),
    ),
    "component": (
        Field("type", 1, _KINDS, "@type"),
        Field("mime-type", 2, TEXT, "@mime-type"),
        Field("bom-ref", 3, TEXT, "@bom-ref"),
        Field("supplier", 4, "organisation", "supplier"),
        Field("manufacturer", 28, "organisation", "manufacturer"),
        Field("authors", 29, "contact", "authors/author", many=True),
        Field("author", 5, TEXT, "author"),
        Field("publisher", 6, TEXT, "publisher"),
        Field("group", 7, TEXT, "group"),
        Field("name", 8, TEXT, "name"),
        Field("version", 9, TEXT, "version"),
        Field("description", 10, TEXT, "description"),
        Field("scope", 11, _SCOPES, "scope"),
        Field("hashes", 12, "hash", "hashes/hash", many=True),
        Field("licenses", 13, "choice", "licenses/", many=True),
        Field("copyright", 14, TEXT, "copyright"),
        Field("cpe", 15, TEXT, "cpe"),
        Field("purl", 16, TEXT, "purl"),
        Field("externalReferences", 20, "link", "externalReferences/reference", many=True),
        Field("properties", 22, "property", "properties/property", many=True),
        Field("components", 21, "component", "components/component", many=True),
    ),
    "hash": (Field("alg", 1, _HASHES, "@alg"), Field("content", 2, TEXT, ".")),
    "choice": (
        Field("license", 1, "license", "license"),
        Field("expression", 2, TEXT, "."),
        Field("acknowledgement", 3, _ACKNOWLEDGED, "@acknowledgement"),
        Field("bom-ref", 4, TEXT, "@bom-ref"),
    ),
    "license": (
        Field("id", 1, TEXT, "id"),
        Field("name", 2, TEXT, "name"),
        Field("url", 4, TEXT, "url"),
        Field("bom-ref", 5, TEXT, "@bom-ref"),
        Field("acknowledgement", 8, _ACKNOWLEDGED, "@acknowledgement"),
    ),
    "link": (
        Field("type", 1, _LINKS, "@type"),
        Field("url", 2, TEXT, "url"),
        Field("comment", 3, TEXT, "comment"),
        Field("hashes", 4, "hash", "hashes/hash", many=True),
    ),
    "dependency": (Field("ref", 1, TEXT, "@ref"), Field("dependsOn", 2, REF, "dependency@ref", many=True)),
    "composition": (
        Field("aggregate", 1, _AGGREGATES, "aggregate"),
        Field("assemblies", 2, TEXT, "assemblies/assembly@ref", many=True),
        Field("dependencies", 3, TEXT, "dependencies/dependency@ref", many=True),
    ),
    "property": (Field("name", 1, TEXT, "@name"), Field("value", 2, TEXT, ".")),
}
