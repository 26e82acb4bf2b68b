"""Other people's checkpoint files: tensors out of them without running code, and folders made from them."""

from __future__ import annotations

import pickle
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor


def read_checkpoint(path: str | Path, entries: Sequence[str] = ("state_dict",)) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or of a torch file, there of the first of `entries` that it has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no checkpoint, or holds Python objects, which are never run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; give the path of the downloaded file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        # Memory mapping (zip files only) keeps what is not used, often half of the file, out of memory.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {path} holds Python objects besides tensors, or is no checkpoint; it was not "
            "opened, because that could run code. Save its state_dict alone, best as .safetensors"
        ) from error
    except (EOFError, OSError, RuntimeError) as error:
        raise ValueError(
            f"checkpoint {path} is cut short, unreadable or no torch file ({error}); download it again"
        ) from error
    tensors = content
    if isinstance(content, dict):
        tensors = next((content[name] for name in entries if name in content), content)
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(
            f"checkpoint {path} has no {' or '.join(entries)} made of tensors; give a published file"
        )
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is no safetensors file ({error}); download it again") from error


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_new_folder(output: Path) -> None:
    """Raise FileExistsError unless `output` is free: not there, or an empty folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} already exists and is not an empty folder; name a new one")


def write_new_folder(output: Path, save: Callable[[Path], object]) -> None:
    """Let `save` fill a folder that becomes `output` once it is whole; a killed run leaves nothing."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as scratch:
        folder = Path(scratch) / "folder"
        save(folder)
        if output.exists():
            output.rmdir()
        folder.rename(output)
