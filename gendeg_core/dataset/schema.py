"""The two tables of the factory: a plan (what to make) and shards (what was made), as Parquet schemas.

A plan row asks for one degraded image. A shard row is that plan row, carried out: both images and everything
that happened to them. Shards hold no times, so that the same plan gives the same bytes (times: run log).
"""

from __future__ import annotations

import json

import pyarrow as pa

PLAN_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("item_id", pa.string()),  # photo path | degradation | repeat; unique in the plan
    ("photo", pa.string()),  # path relative to the plan's photo folder, with forward slashes
    ("caption", pa.string()),  # what the clean photo shows, without the degradation phrase
    ("degradation", pa.string()),
    ("mu", pa.float64()),  # asked mean of the degradation map
    ("sigma", pa.float64()),  # asked standard deviation of it
    ("sampled_dataset", pa.string()),  # published data set whose histogram gave mu
    ("random_sampling", pa.bool_()),  # mu, sigma free within the range of that data set (every N-th item)
    ("engine", pa.string()),  # gendeg or simulator
    ("seed", pa.int64()),  # sample_seed(run seed, item_id)
]

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # what `datasets` reads as an Image

SHARD_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("degraded", _IMAGE),
    ("target", _IMAGE),  # what a restorer should return: the photo, or its VAE round trip
    *PLAN_COLUMNS,
    ("photo_hash", pa.string()),  # BLAKE2b-128 of the photo's file
    ("prompt", pa.string()),  # caption and degradation phrase, as given to the text encoder
    ("mu_obtained", pa.float64()),  # measured as published, both images at 256 x 256; null if not made
    ("sigma_obtained", pa.float64()),
    ("weights", pa.string()),  # identity of the weights, or simulator:<family>
    ("code_version", pa.string()),
    ("scheduler", pa.string()),  # empty for simulators
    ("steps", pa.int32()),  # null for simulators
    ("accepted", pa.bool_()),  # the filter's verdict
    ("reason", pa.string()),  # why not; empty when accepted
    ("alignment", pa.float64()),  # edge alignment of target and degraded image, 0 to 1
    ("clipped", pa.float64()),  # share of pixels at the ends of the range that were not there in the target
]


def plan_schema(settings: dict[str, object]) -> pa.Schema:
    """Schema of a plan file; `settings` (photo folder, run seed, size, ...) travel in its metadata."""
    text = json.dumps(settings, sort_keys=True)
    return pa.schema(PLAN_COLUMNS, metadata={"gendeg_plan": text})


def shard_schema() -> pa.Schema:
    """Schema of a shard, with the feature description that `datasets` and the Hub viewer read."""
    features = {name: _feature(kind) for name, kind in SHARD_COLUMNS}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(SHARD_COLUMNS, metadata=metadata)


def _feature(kind: pa.DataType) -> dict[str, str]:
    if pa.types.is_struct(kind):
        return {"_type": "Image"}
    names = {pa.bool_(): "bool", pa.string(): "string", pa.float64(): "float64"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}
