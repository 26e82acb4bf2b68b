"""Take a finished data set elsewhere: as WebDataset tar files, or to the Hugging Face Hub."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendeg_core.dataset.pairs import PairsError
from gendeg_core.dataset.readers import pairs_in, parquet_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

IMAGES = ("degraded", "target")
SETTINGS = "export.json"
PUBLIC_FILES = ["README.md", "*.html", "data/*.parquet"]  # neither plan nor logs: they name local folders


class ExportError(ValueError):
    """A data set cannot be exported; the message is one sentence for the person who asked."""


def export_webdataset(
    directory: str | Path,
    output: str | Path,
    shard_size: int = 1000,
    *,
    rejected: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the pairs of `directory` as output/train-000000.tar, train-000001.tar and so on.

    Each pair is degraded.png, target.png and json (all other columns) under one key. The same data set gives
    the same bytes. A second call goes on after the last finished tar file.

    Args:
        directory: what `dataset run` wrote, all shards finished.
        shard_size: pairs per tar file.
        rejected: pairs that the filter refused are written too.
        on_progress: called with the pairs written and their total.

    Raises:
        ExportError: shards are missing, or `output` holds another export.
    """
    if shard_size < 1:
        raise ExportError(f"shard_size={shard_size} leaves no pair in a tar file; use at least 1")
    output, files = Path(output), finished_shards(Path(directory))
    total = _count(Path(directory), rejected)
    output.mkdir(parents=True, exist_ok=True)
    _agree_on_settings(output, files, shard_size, rejected)
    tars = [output / f"train-{k:06d}.tar" for k in range((total + shard_size - 1) // shard_size)]
    wanted = [not tar.exists() for tar in tars]
    rows = _rows(files, rejected, lambda number: wanted[number // shard_size])
    for k, tar in enumerate(tars):
        last = min((k + 1) * shard_size, total)
        if wanted[k]:
            _write_tar(tar, (next(rows) for _ in range(k * shard_size, last)))
        if on_progress is not None:
            on_progress(last, total)
    return tars


def finished_shards(directory: Path) -> list[Path]:
    """The shards of `directory`, sorted.

    Raises:
        ExportError: there is none, or fewer than their names (train-00000-of-00012) promise.
    """
    files = parquet_files(directory) if directory.is_dir() else []
    counts = {int(match[1]) for file in files if (match := re.search(r"-of-(\d+)\.parquet$", file.name))}
    if not counts:
        raise ExportError(f"{directory} holds no shard of a data set; make one with `dataset run`")
    if len(counts) > 1 or len(files) != max(counts):
        raise ExportError(
            f"{directory} holds {len(files)} of {max(counts)} shards; finish it with `dataset run` first"
        )
    return files


def _count(directory: Path, rejected: bool) -> int:
    try:
        return len(pairs_in(directory, rejected=rejected))
    except PairsError as error:
        raise ExportError(str(error)) from error


def _agree_on_settings(output: Path, files: list[Path], shard_size: int, rejected: bool) -> None:
    """Remember what is exported into `output`, so that going on later cannot mix two exports."""
    shards = [[file.name, file.stat().st_size] for file in files]
    settings = {"shards": shards, "shard_size": shard_size, "rejected": rejected}
    path = output / SETTINGS
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ExportError(f"{output} holds an export of other pairs or settings; choose an empty folder")
    if not path.exists() and any(output.glob("*.tar")):
        raise ExportError(f"{output} holds tar files from elsewhere; choose an empty folder")
    _write(path, json.dumps(settings).encode())


def _rows(
    files: list[Path], rejected: bool, wanted: Callable[[int], bool]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and columns of each pair that counts and is wanted; row groups without one are not read."""
    import pyarrow.parquet as pq

    first = 0
    for file in files:
        with pq.ParquetFile(file) as shard:
            for group in range(shard.num_row_groups):
                accepted = shard.read_row_group(group, columns=["accepted"])["accepted"].to_pylist()
                places = [place for place, yes in enumerate(accepted) if yes or rejected]
                numbers = {first + k: place for k, place in enumerate(places) if wanted(first + k)}
                first += len(places)
                if numbers:
                    table = shard.read_row_group(group, use_threads=False)
                    for number, place in numbers.items():
                        yield number, table.slice(place, 1).to_pylist()[0]


def _write_tar(path: Path, rows: Iterator[tuple[int, dict[str, Any]]]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, row in rows:
                facts = {name: value for name, value in row.items() if name not in IMAGES}
                for name in IMAGES:
                    _add(tar, f"{number:08d}.{name}.png", _png(row[name]["bytes"]))
                _add(tar, f"{number:08d}.json", json.dumps(facts, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, owner and rights stay at their fixed defaults
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _png(encoded: bytes) -> bytes:
    """An encoded image as PNG; those that are PNG already stay as they are."""
    if encoded.startswith(b"\x89PNG"):
        return encoded
    from PIL import Image

    file = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as image:
        image.convert("RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def upload(directory: str | Path, repo_id: str, *, private: bool = True, api: HfApi | None = None) -> str:
    """Upload a finished data set to the Hugging Face Hub and return its address.

    An interrupted upload goes on where it stopped when it is called again.

    Args:
        repo_id: user-or-organisation/name.
        private: whether a data set that does not exist yet becomes private.
        api: another connection than the one of the stored login.

    Raises:
        ExportError: shards are missing, nobody is logged in, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub import get_token as stored_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.errors import HTTPError as TransportError  # pyright: ignore[reportPrivateImportUsage]

    directory = Path(directory)
    finished_shards(directory)
    if not (directory / "README.md").is_file():
        raise ExportError(f"{directory} has no README.md, the card of a data set; run `dataset run` again")
    if api is None and stored_token() is None:
        raise ExportError("nobody is logged in to the Hugging Face Hub; run `hf auth login` or set HF_TOKEN")
    api = api or HfApi()
    try:
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        # Sends large folders in several commits and, called again, only what is missing.
        api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=directory,
            allow_patterns=PUBLIC_FILES,
            commit_message="Upload paired degradations",
        )
    except HFValidationError as error:
        raise ExportError(f"{repo_id!r} is no name for a data set; write USER/NAME ({error})") from error
    except HfHubHTTPError as error:
        raise ExportError(
            f"the Hub refuses {repo_id} ({error}); check the name and that your token may write there"
        ) from error
    except (TransportError, OSError, RuntimeError) as error:
        raise ExportError(
            f"the Hub cannot be reached ({error}); check the network and call this again, it goes on "
            "where it stopped"
        ) from error
    return f"https://huggingface.co/datasets/{repo_id}"
