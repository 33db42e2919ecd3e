"""Start a program and write down what it cost: `python -IS alone.py REPORT PROGRAM ARGUMENT..`.

From a process that is small itself: a program's peak of memory (ru_maxrss of getrusage(2)) begins with what the
process had that forked it, and a bench with all its libraries has more than most of what it measures.
"""

import os
import sys
import time


def main(report: str, argv: list[str]) -> int:
    """Writes seconds of wall time, of CPU time, and the peak of the largest process in KiB; gives the exit code."""
    began = time.monotonic()
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.monotonic() - began
    with open(report, "w") as file:  # noqa: PTH123 - pathlib is large
        file.write(f"{wall_s} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}")
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
