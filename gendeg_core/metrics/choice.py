"""All metrics by name, and those that can be computed here: a network that is not on disk is no metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gendeg_core.metrics.columns import Column, PairMetric, SetMetric
from gendeg_core.metrics.trunks import ALEXNET, INCEPTION, TrunkMissingError

COLUMNS = {
    column.name: column
    for column in (
        Column("psnr", "PSNR, dB", "higher", 2, "RGB, 8-bit outputs, no border cut, 100 if identical"),
        Column(
            *("ssim", "SSIM", "higher", 4),
            "torchmetrics' definition: RGB, Gaussian window 11 pixels and 1.5, borders reflected",
        ),
        Column("ms_ssim", "MS-SSIM", "higher", 4, "torchmetrics: RGB, five scales, sides of 176 and more"),
        Column("haarpsi", "HaarPSI", "higher", 4, "piq, RGB"),
        Column("fsim", "FSIM", "higher", 4, "piq, with colour (FSIMc)"),
        Column("lpips", "LPIPS", "lower", 4, "lpips 0.1, AlexNet"),
        Column(
            *("fid", "FID", "lower", 2),
            "Inception of torch-fidelity, 2048 features; biased for few images, so compare equal N",
        ),
        Column("kid", "KID", "lower", 5, "same features, cubic kernel, unbiased"),
        Column(
            *("scene_distance", "scene distance", "lower", 2),
            "Frechet distance of natural scene statistics (ours, no network); compare equal N",
        ),
    )
}
NAMES = tuple(COLUMNS)


@dataclass(frozen=True)
class Trunks:
    """Where the networks behind LPIPS, FID and KID are.

    Args:
        alexnet, inception: files; None for torch.hub's folder.
        download: fetch into that folder what is missing.
        device: where they run, in torch's words.
    """

    alexnet: Path | None = None
    inception: Path | None = None
    download: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class Metrics:
    """Metrics ready to use, in the order of `names`.

    Args:
        names: what was asked for.
        missing: name to the sentence why it cannot be computed here.
    """

    names: tuple[str, ...]
    pairs: tuple[PairMetric, ...]
    sets: tuple[SetMetric, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[Column]:
        return [COLUMNS[name] for name in self.names]


def load_metrics(names: Sequence[str] = NAMES, trunks: Trunks | None = None) -> Metrics:
    """Make the named metrics ready.

    Raises:
        ValueError: an unknown name, or a file that is not the network it should be.
        FileNotFoundError: a network was named that is no file.
    """
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or not names:
        raise ValueError(f"unknown metric {(unknown or [''])[0]!r}; choose among {', '.join(NAMES)}")
    trunks = trunks or Trunks()
    loaders = ((_plain, None), (_lpips, ALEXNET), (_on_inception, INCEPTION))
    ready: list[PairMetric | SetMetric] = []
    missing: dict[str, str] = {}
    for load, trunk in loaders:
        wanted = [name for name in names if _TRUNK_OF.get(name) is trunk]
        try:
            ready += load(wanted, trunks) if wanted else []
        except TrunkMissingError as error:
            missing |= dict.fromkeys(wanted, str(error))
    ready.sort(key=lambda metric: names.index(metric.column.name))
    return Metrics(
        tuple(dict.fromkeys(names)),
        tuple(metric for metric in ready if isinstance(metric, PairMetric)),
        tuple(metric for metric in ready if isinstance(metric, SetMetric)),
        missing,
    )


_TRUNK_OF = {"lpips": ALEXNET, "fid": INCEPTION, "kid": INCEPTION}


def _plain(names: list[str], trunks: Trunks) -> list[PairMetric | SetMetric]:
    """Those that need no network."""
    del trunks
    from gendeg_core.metrics import fidelity, perceptual
    from gendeg_core.metrics.scene_statistics import frechet_distance, scene_statistics

    known: dict[str, PairMetric | SetMetric] = {
        "psnr": PairMetric(COLUMNS["psnr"], fidelity.psnr),
        "ssim": PairMetric(COLUMNS["ssim"], fidelity.ssim, fidelity.SMALLEST_SSIM),
        "ms_ssim": PairMetric(COLUMNS["ms_ssim"], fidelity.ms_ssim, fidelity.SMALLEST_MS_SSIM),
        "haarpsi": PairMetric(COLUMNS["haarpsi"], perceptual.haarpsi, smallest=16),
        "fsim": PairMetric(COLUMNS["fsim"], perceptual.fsim, smallest=16),
        "scene_distance": SetMetric(COLUMNS["scene_distance"], scene_statistics, frechet_distance, 10),
    }
    return [known[name] for name in dict.fromkeys(names)]


def _lpips(names: list[str], trunks: Trunks) -> list[PairMetric | SetMetric]:
    del names
    from gendeg_core.metrics.perceptual import load_lpips

    compute = load_lpips(ALEXNET.find(trunks.alexnet, download=trunks.download), trunks.device)
    return [PairMetric(COLUMNS["lpips"], compute, smallest=32)]


def _on_inception(names: list[str], trunks: Trunks) -> list[PairMetric | SetMetric]:
    from gendeg_core.metrics.distribution import fid, kid, load_inception

    features = load_inception(INCEPTION.find(trunks.inception, download=trunks.download), trunks.device)
    distances = {"fid": fid, "kid": kid}
    return [SetMetric(COLUMNS[name], features, distances[name]) for name in dict.fromkeys(names)]
