"""The score of a CVSS 2.0 vector: FIRST's "A Complete Guide", clause 3.2."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

_D = Decimal
_REQUIRED2 = {"ND": _D(1), "L": _D("0.5"), "M": _D(1), "H": _D("1.51")}
_IMPACT2 = {"N": _D(0), "P": _D("0.275"), "C": _D("0.66")}
METRICS: dict[str, dict[str, Decimal]] = {
    "AV": {"L": _D("0.395"), "A": _D("0.646"), "N": _D(1)},
    "AC": {"H": _D("0.35"), "M": _D("0.61"), "L": _D("0.71")},
    "Au": {"M": _D("0.45"), "S": _D("0.56"), "N": _D("0.704")},
    "C": _IMPACT2,
    "I": _IMPACT2,
    "A": _IMPACT2,
    "E": {"ND": _D(1), "U": _D("0.85"), "POC": _D("0.9"), "F": _D("0.95"), "H": _D(1)},
    "RL": {"ND": _D(1), "OF": _D("0.87"), "TF": _D("0.9"), "W": _D("0.95"), "U": _D(1)},
    "RC": {"ND": _D(1), "UC": _D("0.9"), "UR": _D("0.95"), "C": _D(1)},
    "CDP": {"ND": _D(0), "N": _D(0), "L": _D("0.1"), "LM": _D("0.3"), "MH": _D("0.4"), "H": _D("0.5")},
    "TD": {"ND": _D(1), "N": _D(0), "L": _D("0.25"), "M": _D("0.75"), "H": _D(1)},
    "CR": _REQUIRED2,
    "IR": _REQUIRED2,
    "AR": _REQUIRED2,
}


def score2(given: Mapping[str, str]) -> Decimal:
    around = any(given.get(name, "ND") != "ND" for name in ("CDP", "TD", "CR", "IR", "AR"))
    value = _tenth(
        _base2(given, around) * math.prod(METRICS[name][given.get(name, "ND")] for name in ("E", "RL", "RC"))
    )
    if not around:
        return value
    damage, spread = METRICS["CDP"][given.get("CDP", "ND")], METRICS["TD"][given.get("TD", "ND")]
    return _tenth((value + (10 - value) * damage) * spread)


def _base2(given: Mapping[str, str], around: bool) -> Decimal:
    required = {name: _REQUIRED2[given.get(f"{name}R", "ND")] if around else _D(1) for name in "CIA"}
    impact = _D("10.41") * (1 - math.prod(1 - _IMPACT2[given[name]] * required[name] for name in "CIA"))
    impact = min(_D(10), impact) if around else impact
    ease = 20 * math.prod(METRICS[name][given[name]] for name in ("AV", "AC", "Au"))
    return _tenth((_D("0.6") * impact + _D("0.4") * ease - _D("1.5")) * (_D("1.176") if impact else 0))


def _tenth(value: Decimal) -> Decimal:
    return value.quantize(_D("0.1"), ROUND_HALF_UP)
