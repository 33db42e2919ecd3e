"""Distributions of bad events given what was served: the two exponential families that the judge is built of.

Paired: in one stratum (a router x an interval) the candidate served `n_c` requests and stable `n_s`, and
`e` of them all went bad. Given these margins the candidate's bad ones follow Fisher's noncentral
hypergeometric distribution, whatever the base rate was:

    P_d(x | e)  is proportional to  C(n_c, x) C(n_s, e - x) exp(d x),      d = log of the odds ratio.

Single: the candidate alone, x ~ Binomial(n_c, p) with d = log of the odds p / (1 - p):

    P_d(x)  is proportional to  C(n_c, x) exp(d x).

Both are `weights(x) exp(d x - log Z(d))`, so a likelihood ratio needs only x and two values of log Z.
Both are log-concave in x, so a window of 40 standard deviations about the mode holds all but about e^-40 of
the mass; the cost of an interval is thereby bounded by the square root of its events, not by its requests.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-13
"""Tail mass that `pmf` cuts off at each end: far below what a decision can turn on."""


@dataclass(frozen=True, slots=True)
class Counts:
    """One stratum: requests `n` and bad ones `e`, of the candidate (`_c`) and of stable (`_s`), in one interval.

    Raises ValueError for counts that can't be (negative, or more bad events than requests)."""

    n_c: int
    e_c: int
    n_s: int = 0
    e_s: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.e_c <= self.n_c and 0 <= self.e_s <= self.n_s):
            raise ValueError(
                f"counts that can't be: {self.e_c} of {self.n_c} bad on the candidate, "
                f"{self.e_s} of {self.n_s} on stable"
            )

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.n_c + other.n_c, self.e_c + other.e_c, self.n_s + other.n_s, self.e_s + other.e_s)

    @property
    def candidate_rate(self) -> float | None:
        """Share of the candidate's requests that went bad, in [0, 1]; None without requests."""
        return self.e_c / self.n_c if self.n_c else None

    @property
    def stable_rate(self) -> float | None:
        """Share of stable's requests that went bad, in [0, 1]; None without requests."""
        return self.e_s / self.n_s if self.n_s else None

    def stable_alone(self) -> Counts:
        """Stable in the candidate's place, for a process that watches stable itself."""
        return Counts(self.n_s, self.e_s)

    def to_dict(self) -> dict[str, int]:
        return {"n_c": self.n_c, "e_c": self.e_c, "n_s": self.n_s, "e_s": self.e_s}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Counts:
        return cls(data["n_c"], data["e_c"], data["n_s"], data["e_s"])


NOTHING = Counts(0, 0)


def log_odds(probability: float) -> float:
    """log(p / (1 - p)); ValueError outside (0, 1)."""
    if not 0 < probability < 1:
        raise ValueError(f"a rate strictly between 0 and 1 is needed, not {probability}")
    return math.log(probability) - math.log1p(-probability)


@lru_cache(maxsize=65536)
def paired_log_normalisers(n_c: int, n_s: int, e: int, odds: tuple[float, ...]) -> tuple[float, ...]:
    """log Z(d) of the paired family for each log odds ratio d of `odds`; memoised, for margins repeat."""
    if e == 0 or n_c == 0 or n_s == 0 or e == n_c + n_s:
        # One value of x is possible: the stratum tells nothing, and every ratio is exactly 1.
        only = 0 if n_c == 0 else min(n_c, e)
        return tuple(d * only for d in odds)
    return tuple(_log_sum(_paired_window(n_c, n_s, e, d)[1]) for d in odds)


def single_log_normalisers(n: int, odds: tuple[float, ...]) -> tuple[float, ...]:
    """log Z(d) = n log(1 + e^d) of the single family for each log odds d of `odds`."""
    return tuple(n * _log1p_exp(d) for d in odds)


@lru_cache(maxsize=8192)
def paired_pmf(n_c: int, n_s: int, e: int, odds: float) -> tuple[int, Floats]:
    """The candidate's bad events at log odds ratio `odds`: (first x, probabilities of x, x+1, ...)."""
    low, weights = _paired_window(n_c, n_s, e, odds)
    return _trimmed(low, weights)


@lru_cache(maxsize=8192)
def single_pmf(n: int, odds: float) -> tuple[int, Floats]:
    """Binomial(n, p) at log odds `odds`: (first x, probabilities of x, x+1, ...)."""
    import numpy as np
    from scipy.special import gammaln

    rate = math.exp(odds - _log1p_exp(odds))
    low, high = _window(int((n + 1) * rate), math.sqrt(n * rate * (1 - rate)), 0, n)
    x = np.arange(low, high + 1, dtype=np.float64)
    return _trimmed(low, odds * x - gammaln(x + 1) - gammaln(n - x + 1))


def _paired_window(n_c: int, n_s: int, e: int, d: float) -> tuple[int, Floats]:
    """First x and the log weights of the window that holds practically all mass of P_d(. | e)."""
    import numpy as np
    from scipy.special import gammaln

    lowest, highest = max(0, e - n_s), min(n_c, e)
    mode = _paired_mode(n_c, n_s, e, d)
    spread = 1 / math.sqrt(sum(1 / (cell + 1) for cell in (mode, n_c - mode, e - mode, n_s - e + mode)))
    low, high = _window(mode, spread, lowest, highest)
    x = np.arange(low, high + 1, dtype=np.float64)
    whole = gammaln(n_c + 1) + gammaln(n_s + 1)
    rest = gammaln(x + 1) + gammaln(n_c - x + 1) + gammaln(e - x + 1) + gammaln(n_s - e + x + 1)
    return low, whole - rest + d * x


def _paired_mode(n_c: int, n_s: int, e: int, d: float) -> int:
    """The mode of P_d(. | e): the root of the quadratic P(x) = P(x - 1) (Liao and Rosen 2001, Am. Stat. 55:366)."""
    ratio = math.exp(d)
    a, b, c = ratio - 1, e - n_s - (n_c + e + 2) * ratio, (n_c + 1) * (e + 1) * ratio
    root = -2 * c / (b - math.sqrt(max(0.0, b * b - 4 * a * c)))
    return min(max(int(root), max(0, e - n_s)), min(n_c, e))


def _window(mode: int, spread: float, lowest: int, highest: int) -> tuple[int, int]:
    reach = math.ceil(40 * spread) + 60
    return max(lowest, mode - reach), min(highest, mode + reach)


def _trimmed(low: int, log_weights: Floats) -> tuple[int, Floats]:
    import numpy as np

    mass: Floats = np.exp(log_weights - _log_sum(log_weights))
    return trim(low, mass)


def trim(low: int, mass: Floats) -> tuple[int, Floats]:
    """Probabilities starting at `low`, without their negligible ends."""
    import numpy as np

    kept = np.flatnonzero(mass > NEGLIGIBLE)
    first, last = int(kept[0]), int(kept[-1])
    return low + first, mass[first : last + 1]


def _log_sum(terms: Floats) -> float:
    import numpy as np

    top = float(terms.max())
    return top + math.log(float(np.exp(terms - top).sum()))


def _log1p_exp(value: float) -> float:
    """log(1 + e^value) without overflow."""
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
