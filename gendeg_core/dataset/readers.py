"""One door to stored pairs: our shards, the published GenDS layout, or folders lq and gt."""

from __future__ import annotations

from pathlib import Path

from gendeg_core.dataset.folder_pairs import FolderPairs, degradation_of, lq_gt_folders
from gendeg_core.dataset.pairs import PairReader, PairsError
from gendeg_core.types import Degradation


def pairs_in(
    path: str | Path,
    *,
    degradation: Degradation | None = None,
    rejected: bool = False,
    unlabelled: bool = False,
) -> PairReader:
    """The pairs stored at `path`, with random access.

    Args:
        path: a folder that `dataset run` wrote, a GenDS folder or its index (Parquet, or CSV beside the image
            folders), one Parquet file, or a folder tree with folders lq and gt.
        degradation: rows of this degradation alone; for lq/gt folders, what all of them show (None: their
            names tell).
        rejected: pairs that the filter refused count too.
        unlabelled: lq/gt folders may show something that no name tells; their pairs have no degradation then.

    Raises:
        PairsError: nothing at `path` can be read as pairs, none is left, or a name that must tell does not.
    """
    path = Path(path)
    if not path.exists():
        raise PairsError(f"{path} does not exist; check the spelling")
    reader = _tables(path, degradation, rejected)
    if reader is None:
        reader = _folders(path, degradation, unlabelled)
    if reader is None:
        raise PairsError(
            f"no pair in {path}; it must hold folders lq and gt, Parquet files made by `dataset run`, or an "
            "index (Parquet or CSV) with the columns image_path, target_path and degradation"
        )
    if not len(reader):
        which = ("" if rejected else "accepted ") + (f"{degradation.label} " if degradation else "")
        raise PairsError(f"{path} holds no {which}pair; make or choose others")
    return reader


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files with the rows of a data set, sorted: `path` itself, those in its folder data, or all
    below it."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    root = path / "data" if any((path / "data").glob("*.parquet")) else path
    return sorted(file for file in root.rglob("*.parquet") if not _hidden(file.relative_to(root)))


def _tables(path: Path, degradation: Degradation | None, rejected: bool) -> PairReader | None:
    from gendeg_core.dataset.table_pairs import CsvPairs, ParquetPairs, is_index

    folder = path if path.is_dir() else path.parent
    if files := parquet_files(path):
        return ParquetPairs(files, folder, rejected=rejected, only=degradation)
    candidates = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    indices = [file for file in candidates if is_index(file)]
    if len(indices) > 1:
        raise PairsError(f"{path} holds {len(indices)} indices; name one, such as {indices[0]}")
    return CsvPairs(indices[0], only=degradation) if indices else None


def _folders(path: Path, degradation: Degradation | None, unlabelled: bool) -> PairReader | None:
    folders = lq_gt_folders(path) if path.is_dir() else []
    if not folders:
        return None
    known = [(folder, degradation or degradation_of(folder, path)) for folder in folders]
    unknown = [folder for folder, kind in known if kind is None]
    if unknown and not unlabelled:
        raise PairsError(
            f"{unknown[0]} does not say which degradation its pairs show; put it into a folder named after "
            f"the degradation, or name it: --pairs haze={unknown[0]}"
        )
    return FolderPairs(known)


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)
