"""Variables on the screen: templates as they are written, secrets starred out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.engine.connect import SECRETS, passwords_of
from ciflow.lang.inventory import Inventory
from ciflow.lang.vault import Encrypted, Vault
from ciflow.model import EMPTY, Template
from ciflow.report.text import safe
from ciflow.store.mask import STARS, Mask

_STARRED = STARS.decode()
_SECRET_NAMES = frozenset(SECRETS)


@dataclass(frozen=True, slots=True)
class Showing:
    """What may be shown: nothing that a vault has opened, and no password of a host."""

    mask: Mask

    @classmethod
    def of(cls, inventory: Inventory, vault: Vault, extra: Mapping[str, Any] = EMPTY) -> Showing:
        mask = Mask()
        vault.listen(mask.add)
        for password in passwords_of(inventory.layers.values(), extra):
            mask.add(password)
        return cls(mask)

    def value(self, value: Any, name: str = "") -> Any:
        """A value as JSON may have it."""
        if isinstance(value, Encrypted) or (name in _SECRET_NAMES and value not in (None, "")):
            return _STARRED
        if isinstance(value, Template):
            return self.mask.text(value.source)
        if isinstance(value, Mapping):
            return {self.mask.text(str(key)): self.value(below, str(key)) for key, below in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(below) for below in value]
        if value is None or isinstance(value, bool):
            return value
        hidden = self.mask.text(str(value))
        return hidden if isinstance(value, str) or hidden != str(value) else value

    def line(self, text: str) -> str:
        """A line for the terminal: no secret, no control characters."""
        return safe(self.mask.text(text))
