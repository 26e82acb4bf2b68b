"""The data set card: README.md with the header by which `datasets` and the Hub find the shards."""

from __future__ import annotations

from collections import Counter

from gendeg_core.dataset.filters import limits
from gendeg_core.dataset.plan import Plan
from gendeg_core.types import Degradation

_HEADER = """---
pretty_name: Pairs of clean and degraded photos
task_categories:
- image-to-image
tags:
- image-restoration
- image-degradation
- synthetic
size_categories:
- {size}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---
"""

_BODY = """
# Pairs of clean and degraded photos

{pairs} planned pairs from {photos} clean photos, made after GenDeg (arXiv 2411.17687). Each row holds a
`target` and its `degraded` self, both lossless, what was asked for, what was obtained, and all that is needed
to make it again.

```python
from datasets import load_dataset

pairs = load_dataset("PATH_OR_NAME", split="train").filter(lambda row: row["accepted"])
```

The filter accepts these ranges; those of mu follow from the published histograms, and where `run.json` names
mu limits, from there.

| degradation | pairs planned | mu | edges agree | values clipped |
|---|---|---|---|---|
{counts}

Settings: run seed {seed}, short side {size_pixels}, engine {engine}, {free}.

| column | meaning |
|---|---|
| `degraded`, `target` | the pair; the target is the photo, or its VAE round trip where that is nearer |
| `item_id`, `photo`, `photo_hash` | photo, degradation and repeat; the photo's file and its BLAKE2b-128 |
| `caption`, `prompt` | what the photo shows; the same with the degradation's phrase |
| `degradation` | haze, rain, snow, motion_blur, low_light or raindrop |
| `mu`, `sigma` | asked mean and standard deviation of the degradation map, the absolute difference |
| `mu_obtained`, `sigma_obtained` | measured, photo against degraded image, both at 256 x 256 |
| `sampled_dataset`, `random_sampling` | whose histogram gave mu and sigma; or free within its range |
| `engine`, `weights`, `scheduler`, `steps`, `code_version`, `seed` | what made the degraded image |
| `accepted`, `reason`, `alignment`, `clipped` | the filter's verdict; refused pairs are kept and say why |

mu and sigma follow histograms released with GenDeg. The photos are under the terms of their own sources.
"""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def data_card(plan: Plan) -> str:
    """The card of the data set that `plan` makes; it names no local folder."""
    settings = plan.settings
    counted = plan.table["degradation"].value_counts().to_pylist()
    counts = Counter({entry["values"]: entry["counts"] for entry in counted})
    free = f"every {settings.every_nth_free}th item free" if settings.every_nth_free else "no item free"
    body = _BODY.format(
        pairs=f"{len(plan):,}",
        photos=f"{plan.photo_count:,}",
        counts="\n".join(_row(Degradation(name), counts[name]) for name in settings.degradations),
        seed=settings.seed,
        size_pixels=f"{settings.size} pixels" if settings.size else "as it was",
        engine=settings.engine,
        free=free + (" in sigma" if settings.every_nth_free and settings.only_sigma_free else ""),
    )
    size = next((name for limit, name in _SIZES if len(plan) < limit), "1M<n<10M")
    return _HEADER.format(size=size) + body


def _row(kind: Degradation, count: int) -> str:
    may = limits(kind)
    mu = f"{may.mu_least:.4f} to {may.mu_most:.4f}"
    return f"| {kind} | {count:,} | {mu} | from {may.least_alignment:.2f} | to {may.most_clipped:.0%} |"
