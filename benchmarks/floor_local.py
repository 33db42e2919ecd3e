"""The least that COUNT commands on this machine can cost: one process each, one after the other.

usage: python -m benchmarks.floor_local COUNT
"""

import subprocess
import sys


def main(count: int) -> None:
    for number in range(count):
        done = subprocess.run(["echo", str(number)], capture_output=True, text=True, check=True)
        if done.stdout != f"{number}\n":
            raise SystemExit("echo said something else")


if __name__ == "__main__":
    main(int(sys.argv[1]))
