"""Run what failed in the last run of the tests once more, alone. usage: python -m tests.again

Tests with real parts race with whatever else two cores have to do. One that fails beside others and passes alone ends
no build, but it is named: that is a bug, of the product or of the test. More than a few failures are not chance.
"""

import json
import subprocess
import sys
from pathlib import Path

CACHE = Path(".pytest_cache/v/cache/lastfailed")
CHANCE = 3  # failures of one run that may be chance


def again(cache: Path = CACHE) -> int:
    """0 where all that failed pass now."""
    failed = list(json.loads(cache.read_text())) if cache.exists() else []
    if not 0 < len(failed) <= CHANCE:
        return 1
    print(f"\nOnce more, alone: {len(failed)} of the tests", flush=True)
    code = subprocess.run([sys.executable, "-m", "pytest", "-v", *failed], check=False).returncode
    if code == 0:
        print("Each of these passed alone. It failed beside others, which is a bug to find:")
        print("\n".join(f"  {name}" for name in failed))
    return code


if __name__ == "__main__":
    sys.exit(again())
