"""What a machine's time and kept artifacts cost: rates with a source and the day from which they hold."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.diagnostics import Findings, Invalid, Refused
from ciflow.lang.kinds import duration
from ciflow.lang.place import Place
from ciflow.lang.schema import check_part
from ciflow.lang.yamltext import parse

SHIPPED = Path(__file__).with_name("rates.yml")
SELF_HOSTED = "self-hosted"
STORAGE = "storage"
MILLIONTH = 1_000_000  # of a second: times are whole numbers of it, so that their shares add up
UNITS = {"minute": 60 * MILLIONTH, "hour": 3600 * MILLIONTH}
_DAY = 86_400.0  # seconds
SIZES = {"GB-month": 10**9, "GiB-month": 2**30}  # bytes
_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,20})?")
_OF_MACHINES = ("environment", "os", "arch", "cores")


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one unit (`per`) from the day `since` (ISO 8601, UTC) on. `round_up`: each process is billed in
    whole multiples of so many millionths of a second. `machine` has what a machine must be for it."""

    on: str
    price: Decimal
    per: str
    since: str
    source: str
    round_up: int = 0
    machine: tuple[tuple[str, Any], ...] = ()

    def fits(self, machine: Mapping[str, Any]) -> bool:
        """Whether it says of which machines it is, and this is one of them."""
        return bool(self.machine) and all(machine.get(name) == value for name, value in self.machine)

    def billed(self, took: int) -> int:
        """Millionths of a second that are paid for."""
        return -(-took // self.round_up) * self.round_up if self.round_up else took

    def amount(self, time: int) -> Decimal:
        return self.price * time / UNITS[self.per]

    def __str__(self) -> str:
        return f"{self.price} per {self.per} since {self.since} ({self.source})"


@dataclass(frozen=True, slots=True)
class Rates:
    """Of several rates that fit, the first holds; of those with one name, the newest of the day that is asked about."""

    currency: str
    every: tuple[Rate, ...]

    def name_of(self, machine: Mapping[str, Any]) -> str:
        """The name of a machine's rate, or what the machine is where none is for it; "" where nobody has recorded what
        it was."""
        found = next((rate.on for rate in self.every if rate.fits(machine)), "")
        if found or not machine:
            return found
        if machine.get("environment") == SELF_HOSTED:
            return SELF_HOSTED
        words = (machine.get(name, "") for name in ("environment", "os", "arch"))
        return f"{' '.join(map(str, words))} with {machine.get('cores', '?')} cores"

    def of(self, name: str, at: float) -> Rate | None:
        """The rate that holds at a moment in Unix seconds."""
        day = time.strftime("%Y-%m-%d", time.gmtime(at))
        held = [rate for rate in self.every if rate.on == name and rate.since <= day]
        return max(held, key=lambda rate: rate.since, default=None)

    def check(self, name: str) -> None:
        """Raises Refused where no machine's rate has this name."""
        names = dict.fromkeys(rate.on for rate in self.every if rate.per in UNITS)
        if name not in names:
            raise Refused(f"there is no rate for {name}", help=f"there are {', '.join(names)}")


def rates_of(path: Path | None) -> Rates:
    """Those of a file before those that ciflow has, which count in their own currency only. Raises Invalid, with every
    fault at its place."""
    shipped = _read(SHIPPED)
    if path is None:
        return shipped
    own = _read(path)
    replaced = {rate.on for rate in own.every}
    ours = (rate for rate in shipped.every if own.currency == shipped.currency and rate.on not in replaced)
    return Rates(own.currency, (*own.every, *ours))


def _read(path: Path) -> Rates:
    findings = Findings()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} can't be read: {error.strerror}") from error
    place = parse(content, str(path), findings, trusted=False)
    if place is not None and not isinstance(place.value, dict):
        findings.error("CF0101", "a file of rates is a mapping with `currency` and `rates`", place.span)
    elif place is not None:
        check_part("rates", place, findings)
    if place is not None and not findings.errors:
        _check_units(place, findings)
    if place is None or findings.errors:
        raise Invalid(findings.items, {str(path): content.decode("utf-8", "replace")})
    return Rates(place.value["currency"], tuple(_rate(one) for one in place.fields["rates"].items))


def _check_units(place: Place, findings: Findings) -> None:
    """What the schema can't say: a unit that fits what it is of, a day that is one, and no two rates of one day."""
    seen: set[tuple[str, str]] = set()
    for one in place.fields["rates"].items:
        name, day, stored = one.value["on"], one.value["from"], one.value["per"] in SIZES
        if stored != (name == STORAGE):
            units = SIZES if name == STORAGE else UNITS
            findings.error("CF0104", f"{name} is paid per {' or '.join(units)}", one.at("per").span)
        if duration(one.value.get("round_up", 0)) > _DAY:
            findings.error("CF0104", "nobody bills in more than days", one.at("round_up").span)
        try:
            time.strptime(day, "%Y-%m-%d")
        except ValueError:
            findings.error("CF0104", f"{day} is no day", one.at("from").span)
        if (name, day) in seen:
            findings.error("CF0104", f"{name} has another rate from {day} on", one.at("on").span)
        seen.add((name, day))


def _rate(one: Place) -> Rate:
    value = one.value
    written = one.fields["price"]  # as text: what is read as a float is the nearest one only
    price = written.text if _DECIMAL.fullmatch(written.text) else str(written.value)
    machine = tuple((name, value[name]) for name in _OF_MACHINES if name in value)
    round_up = round(duration(value.get("round_up", 0)) * MILLIONTH)
    return Rate(value["on"], Decimal(price), value["per"], value["from"], value["source"], round_up, machine)
