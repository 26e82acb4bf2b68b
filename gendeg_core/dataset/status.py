"""Where a data set stands, read from its plan, markers and logs; a run may go on meanwhile."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gendeg_core.dataset.clock import MODEL, STAGES
from gendeg_core.dataset.plan import read_plan
from gendeg_core.dataset.run import PLAN
from gendeg_core.dataset.shards import outside_share, shards_done


@dataclass(frozen=True)
class Status:
    """Where a data set stands.

    Args:
        planned, made: items of the plan, and rows in finished shards.
        rejected: of those, how many the filter refused, by degradation.
        failed: photos that could not be done, with the reason.
        shards_done, shards: finished shards, of how many.
        bytes: size of the finished shards.
        seconds: worker seconds per stage, over all that was ever done (also what was killed and done again),
            with `wall`, the time that passed at the workers.
        items_timed: number of items those seconds were spent on.
        outside: share of the workers' time in which no model worked.
    """

    planned: int
    made: int
    rejected: dict[str, int]
    failed: dict[str, str]
    shards_done: int
    shards: int
    bytes: int
    seconds: dict[str, float]
    items_timed: int
    outside: float

    @property
    def finished(self) -> bool:
        return self.shards_done == self.shards

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"finished": self.finished}


def read_status(output: str | Path) -> Status:
    """The status of the data set in `output`.

    Raises:
        PlanError: there is none.
    """
    output = Path(output)
    plan = read_plan(output / PLAN)
    markers = shards_done(output).values()
    rejected: Counter[str] = Counter()
    for marker in markers:
        rejected.update(marker.rejected)
    seconds: dict[str, float] = defaultdict(float)
    items = 0
    for photo in _timed(output):
        for name, value in photo["seconds"].items():
            seconds[name] += value
        items += photo["items"]
    return Status(
        planned=len(plan),
        made=sum(marker.rows for marker in markers),
        rejected=dict(rejected),
        failed={name: why for marker in markers for name, why in marker.failed.items()},
        shards_done=len(markers),
        shards=plan.shard_count,
        bytes=sum(marker.size for marker in markers),
        seconds={name: round(value, 3) for name, value in seconds.items()},
        items_timed=items,
        outside=outside_share(seconds),
    )


def _timed(output: Path) -> Iterator[dict[str, Any]]:
    """The log lines of photos that were done."""
    for path in sorted((output / "log").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # cut short by a kill
                continue
            if "seconds" in entry and not entry["reason"]:
                yield entry


def describe(status: Status) -> str:
    """The status for people."""
    lines = [
        f"{status.made:,} of {status.planned:,} items made, {status.shards_done} of {status.shards} shards "
        f"finished, {status.bytes / 1e6:,.1f} MB"
    ]
    refused = sum(status.rejected.values())
    if status.made:
        parts = ", ".join(f"{name} {count}" for name, count in sorted(status.rejected.items()))
        lines.append(f"{refused:,} refused by the filter" + (f" ({parts})" if parts else ""))
    if status.items_timed:
        lines.append(
            f"{status.seconds['wall'] / status.items_timed:.3f} worker seconds per item, "
            f"{100 * status.outside:.1f} % of them outside the model; busy:"
        )
        lines += [_stage_line(name, status) for name in STAGES]
    lines += [f"not done: {why}" for why in status.failed.values()]
    return "\n".join(lines)


def _stage_line(name: str, status: Status) -> str:
    busy = status.seconds.get(name, 0.0)
    where = "" if name in MODEL else ", beside the model"
    return f"  {name:9} {busy:9.1f} s, {100 * busy / max(status.seconds['wall'], 1e-9):5.1f} %{where}"
