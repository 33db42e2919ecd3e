"""JSON that somebody else wrote and that a decision hangs on: read whole or refused, with the place of the fault.

Every field is asked for by name, and one that nobody asked for is a fault: what isn't understood isn't vouched for.
Bounded in size and depth; a name that stands twice is refused, for readers differ in which of the two they take.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.supply.errors import SignatureError

MOST_BYTES = 16 * 1024 * 1024
MOST_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Json:
    """An object of a document, and the path that leads to it (`bundle.dsseEnvelope.signatures[0]`)."""

    value: Mapping[str, Any]
    path: str

    def only(self, *names: str) -> None:
        """Nothing but these names stand in it."""
        unknown = sorted(set(self.value) - set(names))
        if unknown:
            raise SignatureError(f"{self.path}: unknown field {unknown[0]!r}")

    def text(self, name: str, default: str | None = None) -> str:
        return str(self._of(name, str, "text", default))

    def bytes(self, name: str) -> bytes:
        """What its base64 (RFC 4648, section 4) stands for; one text for one value."""
        text = self.text(name)
        try:
            found = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as e:
            raise SignatureError(f"{self.path}.{name}: not base64") from e
        if base64.b64encode(found).decode() != text:
            raise SignatureError(f"{self.path}.{name}: base64 that is not in its only form")
        return found

    def object(self, name: str) -> Json:
        return Json(self._of(name, dict, "an object", None), f"{self.path}.{name}")

    def objects(self, name: str) -> list[Json]:
        """Its list of objects; one that is not there is empty."""
        items = self._of(name, list, "a list", [])
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise SignatureError(f"{self.path}.{name}[{number}]: an object is wanted here")
        return [Json(item, f"{self.path}.{name}[{number}]") for number, item in enumerate(items)]

    def has(self, name: str) -> bool:
        return name in self.value

    def _of(self, name: str, kind: type, what: str, default: Any) -> Any:
        found = self.value.get(name, default)
        if found is None:
            raise SignatureError(f"{self.path}: the field {name!r} is missing")
        if not isinstance(found, kind):
            raise SignatureError(f"{self.path}.{name}: {what} is wanted here")
        return found


def read(content: bytes, what: str) -> Json:
    """The object that a text holds; `what` begins the paths of its faults."""
    if len(content) > MOST_BYTES:
        raise SignatureError(f"{what}: larger than {MOST_BYTES // 1024**2} MiB")
    try:
        text = content.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as e:
        raise SignatureError(f"{what}: not UTF-8 at byte {e.start}") from e
    except json.JSONDecodeError as e:
        raise SignatureError(f"{what}: not JSON at line {e.lineno}, column {e.colno}: {e.msg}") from e
    except RecursionError as e:
        raise SignatureError(f"{what}: nested deeper than {MOST_DEPTH}") from e
    except ValueError as e:
        raise SignatureError(f"{what}: not JSON: {e}") from e
    if not isinstance(document, dict):
        raise SignatureError(f"{what}: a JSON object is wanted")
    _bounded(document, what)
    return Json(document, what)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice in one object")
        found[name] = value
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _bounded(document: Any, what: str) -> None:
    """Breadth first, level by level: no recursion to run out of."""
    level = [document]
    for _ in range(MOST_DEPTH):
        level = [
            below
            for one in level
            for below in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(below, dict | list)
        ]
        if not level:
            return
    raise SignatureError(f"{what}: nested deeper than {MOST_DEPTH}")
