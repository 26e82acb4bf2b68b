"""The curve of the paper's figure 6: unseen degradations against the number of generated pairs."""

from __future__ import annotations

from pathlib import Path

from train.experiment.config import ExperimentConfig
from train.experiment.jobs import Run
from train.experiment.statistics import METRICS, Results, mean_columns, summarise

LABELS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def scaling_runs(config: ExperimentConfig, results: Results) -> dict[int, list[Run]]:
    """Number of generated pairs beside the existing ones to the runs that had so many."""
    kinds = [kind for kind in results.kinds(config.scaling_model) if kind[0] != "gends"]
    found = {count: results.seeds(config.scaling_model, data, count) for data, count in kinds}
    return dict(sorted(found.items()))


def draw_scaling(config: ExperimentConfig, results: Results, path: Path) -> bool:
    """Draw it into a PNG; False if the model of the curve was not trained with several numbers of pairs."""
    runs = scaling_runs(config, results)
    if len(runs) < 2:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(METRICS))
    for axis, metric in zip(axes, METRICS, strict=True):
        for column in mean_columns(results)[1:]:
            found = [summarise(results.values(same, metric), column) for same in runs.values()]
            means = [summary.interval.mean for summary in found]
            (line,) = axis.plot(list(runs), means, "o-", label=column.name)
            for count, summary in zip(runs, found, strict=True):
                axis.plot([count] * len(summary.seeds), summary.seeds, "_", color=line.get_color())
        axis.set_xlabel("generated pairs")
        axis.set_ylabel(LABELS[metric])
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.suptitle(
        f"{config.scaling_model} on {config.pairs} existing pairs and more (dashes: seeds)", fontsize=9
    )
    figure.savefig(path)
    return True
