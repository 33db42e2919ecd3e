"""The machine that a run is on, as far as it shows: what its time costs depends on that."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

_SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
_PROCESSORS = {"x86_64": "X64", "AMD64": "X64", "aarch64": "ARM64", "arm64": "ARM64"}
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of control groups, version 2: microseconds of each period, or `max`


def runner() -> dict[str, Any]:
    """Environment, os, arch and cores, in the words of GitHub's runners. Any other machine is `self-hosted`.

    RUNNER_ENVIRONMENT, RUNNER_OS and RUNNER_ARCH are what its runner sets for each job ("Default environment variables"
    of its documentation); a machine type has no name there, only cores.
    """
    return {
        "environment": os.environ.get("RUNNER_ENVIRONMENT") or "self-hosted",
        "os": os.environ.get("RUNNER_OS") or _SYSTEMS.get(sys.platform, sys.platform),
        "arch": os.environ.get("RUNNER_ARCH") or _PROCESSORS.get(os.uname().machine, os.uname().machine),
        "cores": _cores(),
    }


def _cores() -> int:
    """Those that this process may use: a container may have fewer than its machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _QUOTA.read_text().partition(" ") if _QUOTA.is_file() else ("max", "", "")
    return min(allowed, max(1, math.ceil(int(quota) / int(period)))) if quota.strip() != "max" else allowed
