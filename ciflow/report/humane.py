"""Numbers, durations, sizes and times as people read them. Pure."""

from __future__ import annotations

import time

DAY = 86_400
_UNITS = ("kB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """`40 ms`, `0.4 s`, `6 s`, `41 s`, `2m 05s`, `1h 02m`, `6d 03h`."""
    seconds = max(seconds, 0.0)
    if seconds < 0.095:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < DAY:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // DAY}d {whole % DAY // 3600:02}h"


def size(count: float) -> str:
    """Bytes in decimal units (IEC 80000-13): `812 B`, `1.2 MB`."""
    if count < 1000:
        return f"{count:.0f} B"
    power = 1
    while count / 1000**power >= 999.5 and power < len(_UNITS):
        power += 1
    scaled = count / 1000**power
    return f"{scaled:.1f} {_UNITS[power - 1]}" if scaled < 99.95 else f"{scaled:.0f} {_UNITS[power - 1]}"


def number(count: float) -> str:
    """With thousands separators."""
    return f"{count:,.0f}"


def counted(count: int, thing: str, things: str = "") -> str:
    """`1 host`, `1,204 hosts`."""
    return f"{number(count)} {thing if count == 1 else things or thing + 's'}"


def share(weight: int) -> str:
    """Hundredths of a percent: `1 %`, `0.05 %`, `12.5 %`."""
    return f"{weight / 100:.2f}".rstrip("0").rstrip(".") + " %"


def evidence(value: float) -> str:
    """An e-value or its threshold: `0.8`, `42`, `12,300`, `over a million`."""
    if value >= 1e6:
        return "over a million"
    return f"{value:.1f}".replace(".0", "") if value < 10 else number(value)


def clock(at: float, now: float) -> str:
    """Local time of day; with the date when it isn't today's."""
    moment = time.localtime(at)
    today = moment[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", moment)


def moment(at: float, now: float) -> str:
    """Local time to the second; with the date when it isn't today's."""
    told = time.localtime(at)
    today = told[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", told)


def ago(seconds: float) -> str:
    """When something was: `just now`, `5 minutes ago`, `6 days ago`."""
    for length, word in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return f"{counted(int(seconds // length), word)} ago"
    return "just now"
