"""The least that validating a playbook can cost: reading it as YAML with libyaml.

usage: python -m benchmarks.floor_yaml PLAYBOOK
"""

import sys
from pathlib import Path

import yaml


def main(path: str) -> None:
    plays = yaml.load(Path(path).read_bytes(), Loader=yaml.CSafeLoader)
    if not plays[0]["tasks"]:
        raise SystemExit("no tasks")


if __name__ == "__main__":
    main(sys.argv[1])
