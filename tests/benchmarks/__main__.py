"""`python -m tests.benchmarks [GROUP ...]`: time the groups of cases in one table, then print the reports."""

from __future__ import annotations

import argparse
import platform

import torch

from tests.benchmarks.cases import GROUPS
from tests.benchmarks.factory import factory_report
from tests.benchmarks.memory import memory_report
from tests.benchmarks.timing import measure_case, table

REPORTS = {"dataset": factory_report, "memory": memory_report}


def main() -> None:
    known = [*GROUPS, *REPORTS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"among {', '.join(known)}; default all")
    chosen = parser.parse_args().groups or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        parser.error(f"unknown group {unknown[0]!r}; choose among {', '.join(known)}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    if timed := [name for name in chosen if name in GROUPS]:
        print("ratio: median over the median of the first case of its group")
        print(table(measure_case(case) for name in timed for case in GROUPS[name]()))
    for name in chosen:
        if name in REPORTS:
            print(REPORTS[name]())


if __name__ == "__main__":
    main()
