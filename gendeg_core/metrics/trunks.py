"""Published networks that metrics look through, found on disk, and fetched only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class TrunkMissingError(Exception):
    """A network is not on disk; the message is one sentence that says where it was looked for."""


@dataclass(frozen=True)
class Trunk:
    """A published file of weights.

    Args:
        name: for people.
        file: as published; the eight hex digits at its end begin its SHA-256.
        option: of the evaluate command, names another file.
        url: where it was published.
    """

    name: str
    file: str
    option: str
    url: Callable[[], str]

    @property
    def cached(self) -> Path:
        """Where torch.hub keeps its downloads."""
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / self.file

    def find(self, path: Path | None = None, *, download: bool = False) -> Path:
        """The file at `path`, else in torch.hub's folder, else fetched there if that is allowed.

        Raises:
            FileNotFoundError: `path` was given and is no file.
            TrunkMissingError: it is nowhere, or could not be fetched.
        """
        if path is not None:
            if not path.is_file():
                raise FileNotFoundError(f"{path} is not a file; give the {self.name} weights, {self.file}")
            return path
        if self.cached.is_file():
            return self.cached
        if not download:
            raise TrunkMissingError(
                f"the {self.name} weights are not on disk ({_short(self.cached)}); name the file with "
                f"{self.option} or allow --download"
            )
        return self._fetch()

    def _fetch(self) -> Path:
        import torch

        self.cached.parent.mkdir(parents=True, exist_ok=True)
        digits = self.cached.stem.rpartition("-")[2]
        try:
            torch.hub.download_url_to_file(self.url(), str(self.cached), digits, progress=False)
        except (OSError, RuntimeError) as error:  # no network, or not the file that was published
            raise TrunkMissingError(
                f"the {self.name} weights could not be fetched ({error}); name the file with {self.option}"
            ) from error
        return self.cached


def _short(path: Path) -> str:
    """A path that can be published: the home folder as ~."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _alexnet_url() -> str:
    from torchvision.models import AlexNet_Weights

    return AlexNet_Weights.IMAGENET1K_V1.url


def _inception_url() -> str:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return URL_INCEPTION_V3


ALEXNET = Trunk("AlexNet", "alexnet-owt-7be5be79.pth", "--lpips-trunk", _alexnet_url)
INCEPTION = Trunk(
    "Inception", "weights-inception-2015-12-05-6726825d.pth", "--inception-weights", _inception_url
)
