"""Scores of CVSS vectors, computed from the vector as FIRST's specifications 2.0, 3.0, 3.1 and 4.0 say.

A vector with temporal or environmental metrics gets the score that counts them, as its maker wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ciflow.dataclass import dataclass
from ciflow.supply.errors import AdvisoryError

LEVELS = ("none", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Score:
    """0.0 to 10.0, the word of the version's own rating scale, and which version of CVSS it is."""

    value: float
    severity: str
    version: str


def score(vector: str) -> Score:
    """Of a vector of any version. Raises AdvisoryError on what is no vector."""
    prefix, _, rest = vector.strip().partition("/")
    match prefix:
        case "CVSS:3.0" | "CVSS:3.1":
            value = _score3(_metrics(rest, _THREE, 8, vector), prefix[-3:])
        case "CVSS:4.0":
            from ciflow.supply.cvss4 import METRICS, score4

            value = score4(_metrics(rest, METRICS, 11, vector))
        case _:
            from ciflow.supply.cvss2 import METRICS as TWO
            from ciflow.supply.cvss2 import score2

            value = float(score2(_metrics(vector.strip().strip("()"), TWO, 6, vector)))
            return Score(value, LEVELS[1 if value < 4 else 2 if value < 7 else 3], "2.0")
    return Score(value, _rating(value), prefix[-3:])


def _rating(value: float) -> str:
    """CVSS 3.1 clause 5, and 4.0 clause 6: the qualitative severity rating scale."""
    return LEVELS[0 if value == 0 else 1 if value < 4 else 2 if value < 7 else 3 if value < 9 else 4]


def _metrics(
    text: str, known: Mapping[str, Sequence[str] | Mapping[str, object]], base: int, vector: str
) -> dict[str, str]:
    """Value by metric; the first `base` of `known` must be there, and none twice."""
    found: dict[str, str] = {}
    for part in text.split("/"):
        name, _, value = part.partition(":")
        if name in found or name not in known or value not in known[name]:
            raise AdvisoryError(f"{vector[:120]!r} is no vector of CVSS: {part[:20]!r}")
        found[name] = value
    if missing := [name for name in list(known)[:base] if name not in found]:
        raise AdvisoryError(f"{vector[:120]!r} is no vector of CVSS: it lacks {missing[0]}")
    return found


# --- 3.0 and 3.1 (clause 7.4 has the weights, 7.1 to 7.3 the equations) -----------------------------------

_REQUIRED = {"X": 1.0, "L": 0.5, "M": 1.0, "H": 1.5}
_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}
_BASE3: dict[str, dict[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "PR": {"N": 0.85, "L": 0.62, "H": 0.27},
    "UI": {"N": 0.85, "R": 0.62},
    "S": {"U": 0.0, "C": 1.0},
    "C": _IMPACT,
    "I": _IMPACT,
    "A": _IMPACT,
}
_THREE: dict[str, dict[str, float]] = {
    **_BASE3,
    "E": {"X": 1.0, "U": 0.91, "P": 0.94, "F": 0.97, "H": 1.0},
    "RL": {"X": 1.0, "O": 0.95, "T": 0.96, "W": 0.97, "U": 1.0},
    "RC": {"X": 1.0, "U": 0.92, "R": 0.96, "C": 1.0},
    "CR": _REQUIRED,
    "IR": _REQUIRED,
    "AR": _REQUIRED,
    **{f"M{name}": {**weights, "X": 0.0} for name, weights in _BASE3.items()},
}
_PRIVILEGES_ACROSS = {"N": 0.85, "L": 0.68, "H": 0.5}  # PR where the scope changes
_TEMPORAL = ("E", "RL", "RC")


def _score3(given: Mapping[str, str], version: str) -> float:
    """Base; the environmental score where the vector says anything of the environment; times the temporal metrics."""
    modified = any(given.get(name, "X") != "X" for name in _THREE if name[0] == "M" or name in ("CR", "IR", "AR"))
    value = _base3(given, version, modified)
    temporal = math.prod(_THREE[name][given.get(name, "X")] for name in _TEMPORAL)
    return _up(value * temporal, version)


def _base3(given: Mapping[str, str], version: str, modified: bool) -> float:
    def chosen(name: str) -> str:
        other = given.get(f"M{name}", "X") if modified else "X"
        return given[name] if other == "X" else other

    across = chosen("S") == "C"
    required = {name: _REQUIRED[given.get(f"{name}R", "X")] if modified else 1.0 for name in "CIA"}
    hit = 1 - math.prod(1 - required[name] * _IMPACT[chosen(name)] for name in "CIA")
    impact = _impact3(min(hit, 0.915) if modified else hit, across, modified and version == "3.1")
    if impact <= 0:
        return 0.0
    privileges = (_PRIVILEGES_ACROSS if across else _BASE3["PR"])[chosen("PR")]
    ease = 8.22 * privileges * math.prod(_BASE3[name][chosen(name)] for name in ("AV", "AC", "UI"))
    return _up(min((1.08 if across else 1) * (impact + ease), 10), version)


def _impact3(hit: float, across: bool, newer: bool) -> float:
    if not across:
        return 6.42 * hit
    return 7.52 * (hit - 0.029) - 3.25 * ((hit * 0.9731 - 0.02) ** 13 if newer else (hit - 0.02) ** 15)


def _up(value: float, version: str) -> float:
    """To the next tenth: 3.1 appendix A; 3.0 leaves open what a float's last bits do, here they do nothing."""
    parts = round(value * 100_000) if version == "3.1" else math.ceil(round(value * 100_000, 4))
    return parts / 100_000 if parts % 10_000 == 0 else (parts // 10_000 + 1) / 10
