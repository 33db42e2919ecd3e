"""The score of a CVSS 4.0 vector: FIRST's specification, clause 8.

A vector falls into one of 270 classes (macro vectors), each with a score that experts gave it (`cvss4.txt`, the
table that FIRST publishes). Within its class it loses as much of the way to the next lower class as it lies below
the class's most severe vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

_HIT, _NEED = "HLN", "HML"
# Values of each metric from the most severe on: how far apart two are is how many steps lie between them.
_STEPS = {
    "AV": "NALP", "AC": "LH", "AT": "NP", "PR": "NLH", "UI": "NPA",
    "VC": _HIT, "VI": _HIT, "VA": _HIT, "SC": f"S{_HIT}", "SI": f"S{_HIT}", "SA": f"S{_HIT}",
    "CR": _NEED, "IR": _NEED, "AR": _NEED,
}  # fmt: skip
_BASE = ("AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA")
METRICS: Mapping[str, str | tuple[str, ...]] = {
    **{name: tuple(_STEPS[name].replace("S", "") if name[0] == "S" else _STEPS[name]) for name in _BASE},
    "E": tuple("XAPU"),
    **{name: tuple("X" + _NEED) for name in ("CR", "IR", "AR")},
    **{f"M{name}": tuple("X" + _STEPS[name]) for name in _BASE if name != "SC"},
    "MSC": tuple("X" + _HIT),
    "S": tuple("XNP"), "AU": tuple("XNY"), "R": tuple("XAUI"), "V": tuple("XDC"), "RE": tuple("XLMH"),
    "U": ("X", "Clear", "Green", "Amber", "Red"),
}  # fmt: skip

# Of each class, by equivalence set: its most severe vectors (clause 8.2, table 24 on), and how many steps deep it is.
_EQ1, _EQ2, _EQ3, _EQ4 = ("AV", "PR", "UI"), ("AC", "AT"), ("VC", "VI", "VA", "CR", "IR", "AR"), ("SC", "SI", "SA")
_HIGHEST: Mapping[tuple[str, ...], Mapping[str, tuple[tuple[str, ...], int]]] = {
    _EQ1: {"0": (("NNN",), 1), "1": (("ANN", "NLN", "NNP"), 4), "2": (("PNN", "ALP"), 5)},
    _EQ2: {"0": (("LN",), 1), "1": (("HN", "LP"), 2)},
    _EQ3: {
        "00": (("HHHHHH",), 7),
        "01": (("HHLMMH", "HHHMMM"), 6),
        "10": (("LHHHHH", "HLHHHH"), 8),
        "11": (("LHLHMH", "LHHHMM", "HLHMHM", "HLLMHH", "LLHHHM"), 8),
        "21": (("LLLHHH",), 10),
    },
    _EQ4: {"0": (("HSS",), 6), "1": (("HHH",), 5), "2": (("LLL",), 4)},
}


def score4(given: Mapping[str, str]) -> float:
    """Of metrics that are known to be complete and of values that exist."""
    chosen = {name: _chosen(name, given) for name in (*_STEPS, "E")}
    if all(chosen[name] == "N" for name in ("VC", "VI", "VA", "SC", "SI", "SA")):
        return 0.0
    eq = _classes(chosen)
    table = _table()
    value = table["".join(eq)]
    parts = [
        (_lower(eq, (0,)), _EQ1, eq[0]),
        (_lower(eq, (1,)), _EQ2, eq[1]),
        (_lower_three(eq), _EQ3, eq[2] + eq[5]),
        (_lower(eq, (3,)), _EQ4, eq[3]),
    ]
    losses = [(value - lower) * _depth(chosen, names, level) for lower, names, level in parts if lower is not None]
    counted = len(losses) + (_lower(eq, (4,)) is not None)  # threats have one vector a class: no loss, but a part
    lost = sum(losses) / counted if counted else 0.0
    return int(max(0.0, min(10.0, value - lost)) * 10 + 0.5 + 1e-6) / 10


def _chosen(name: str, given: Mapping[str, str]) -> str:
    """What is not said of threats and requirements is the worst; what is modified is as modified."""
    modified = given.get(f"M{name}", "X")
    if modified != "X":
        return modified
    found = given.get(name, "X")
    return {"E": "A"}.get(name, "H") if found == "X" else found


def _classes(chosen: Mapping[str, str]) -> list[str]:
    """The six digits of the macro vector (clause 8.2, tables 24 to 29)."""

    def count(names: Iterable[str], value: str) -> int:
        return sum(chosen[name] == value for name in names)

    free = count(_EQ1, "N")
    eq1 = 0 if free == 3 else 2 if chosen["AV"] == "P" or not free else 1
    eq2 = 0 if (chosen["AC"], chosen["AT"]) == ("L", "N") else 1
    eq3 = 0 if count(("VC", "VI"), "H") == 2 else 1 if count(("VC", "VI", "VA"), "H") else 2
    eq4 = 0 if count(("SI", "SA"), "S") else 1 if count(_EQ4, "H") else 2
    eq5 = "APU".index(chosen["E"])
    needed = any(chosen[f"V{one}"] == chosen[f"{one}R"] == "H" for one in "CIA")
    return [str(digit) for digit in (eq1, eq2, eq3, eq4, eq5, 0 if needed else 1)]


def _lower(eq: list[str], positions: tuple[int, ...]) -> float | None:
    """The score of the class one lower at these positions; None where there is none."""
    return _table().get("".join(str(int(digit) + (at in positions)) for at, digit in enumerate(eq)))


def _lower_three(eq: list[str]) -> float | None:
    """Sets 3 and 6 go together: where both can go down, the higher of both ways counts."""
    if eq[2] == eq[5] == "0":
        return max((found for at in (2, 5) if (found := _lower(eq, (at,))) is not None), default=None)
    return _lower(eq, (5,) if eq[5] == "0" else (2,)) if eq[2] != "2" else None


def _depth(chosen: Mapping[str, str], names: tuple[str, ...], level: str) -> float:
    """How far below the class's most severe vector, as a share of the class's depth."""
    highest, deep = _HIGHEST[names][level]
    for vector in highest:
        steps = [
            _STEPS[name].index(chosen[name]) - _STEPS[name].index(top) for name, top in zip(names, vector, strict=True)
        ]
        if min(steps) >= 0:
            return sum(steps) / deep
    return 0.0


@cache
def _table() -> Mapping[str, float]:
    lines = files("ciflow.supply").joinpath("cvss4.txt").read_text("utf-8").splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines)}
