"""`python -m tests.benchmarks [GROUP ...]`: time the groups of cases and print one table."""

from __future__ import annotations

import argparse
import platform

import torch

from tests.benchmarks.cases import GROUPS
from tests.benchmarks.timing import measure_case, table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"among {', '.join(GROUPS)}; default all")
    chosen = parser.parse_args().groups or list(GROUPS)
    unknown = [name for name in chosen if name not in GROUPS]
    if unknown:
        parser.error(f"unknown group {unknown[0]!r}; choose among {', '.join(GROUPS)}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("ratio: median over the median of the first case of its group")
    print(table(measure_case(case) for name in chosen for case in GROUPS[name]()))


if __name__ == "__main__":
    main()
