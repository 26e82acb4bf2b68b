"""Tables of metrics as files: CSV with everything, Markdown for people, one CSV row per image beside them."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gendeg_core.metrics.bootstrap import Interval
from gendeg_core.metrics.choice import Metrics
from gendeg_core.metrics.columns import Column
from gendeg_core.metrics.summary import INPUT, Cell, ImageRow, SummaryRow

PACKAGES = ("torch", "torchmetrics", "torch-fidelity", "piq", "lpips", "numpy")
SUFFIXES = (".csv", ".md")


@dataclass(frozen=True)
class Facts:
    """What every number of one table depends on besides the images and the weights.

    Args:
        pairs: where the pairs came from.
        seed, resamples: of the bootstrap.
        versions: of the packages that compute, by name.
        notes: further sentences for readers.
    """

    pairs: str
    seed: int
    resamples: int
    versions: dict[str, str]
    notes: tuple[str, ...] = ()


def installed_versions() -> dict[str, str]:
    """Python, and the packages that metrics come from."""
    found = {"Python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def write_tables(
    path: Path, summary: Sequence[SummaryRow], images: Sequence[ImageRow], metrics: Metrics, facts: Facts
) -> list[Path]:
    """Write the summary to `path` (.csv or .md) and the rows per image beside it; returns both paths.

    Raises:
        ValueError: another suffix.
    """
    check_suffix(path)
    as_text = summary_csv if path.suffix == ".csv" else markdown
    text = as_text(summary, metrics, facts)
    beside = path.with_suffix(".images.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, text)
    _write(beside, images_csv(images, metrics))
    return [path, beside]


def check_suffix(path: Path) -> None:
    """Refuse a file that is neither CSV nor Markdown.

    Raises:
        ValueError: another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a table is written as {' or '.join(SUFFIXES)}, not {path.name!r}; change the name")


def summary_csv(summary: Sequence[SummaryRow], metrics: Metrics, facts: Facts) -> str:
    """One line per row; each metric has its mean, interval, number of images, and gain over the input."""
    versions = " ".join(f"{name}={version}" for name, version in facts.versions.items())
    parts = ("", "_low", "_high", "_n", "_gain", "_gain_low", "_gain_high")
    header = ["degradation", "set", "model", "weights", "n", "sizes", "tile", "seconds"]
    header += [column.name + part for column in metrics.columns for part in parts]
    header += ["pairs", "bootstrap_seed", "bootstrap_resamples", "versions"]
    lines: list[Sequence[object]] = [header]
    for row in summary:
        line: list[object] = [row.degradation, row.group, row.model, row.weights, row.images, row.sizes]
        line += [row.tiles, f"{row.seconds:.3f}"]
        for column in metrics.columns:
            line += _csv_cell(row.cells[column.name])
        lines.append([*line, facts.pairs, facts.seed, facts.resamples, versions])
    return _csv(lines)


def images_csv(images: Sequence[ImageRow], metrics: Metrics) -> str:
    """One line per image and restorer; distances of sets have no place here."""
    names = [metric.column.name for metric in metrics.pairs]
    header = ["name", "degradation", "set", "model", "weights", "width", "height", "tile", "seconds", *names]
    lines: list[Sequence[object]] = [header]
    for row in images:
        line = [row.name, row.degradation, row.group, row.model, row.weights, row.width, row.height]
        values = [_number(row.values[name]) for name in names]
        tile = "" if row.model == INPUT else row.tile or "whole"
        lines.append([*line, tile, f"{row.seconds:.3f}", *values])
    return _csv(lines)


def markdown(summary: Sequence[SummaryRow], metrics: Metrics, facts: Facts) -> str:
    """The table, the gains over the degraded input, and what the numbers mean."""
    columns = metrics.columns
    head = ["degradation", "set", "model", "weights", "N", "tile", *map(_heading, columns), "s/image"]
    body = [
        [*_identity(row), *(_text(row.cells[c.name], c) for c in columns), f"{row.seconds:.2f}"]
        for row in summary
    ]
    parts = [_markdown_table(head, body)]
    compared = [metric.column for metric in metrics.pairs]
    gains = [row for row in summary if any(_gain(row, column) for column in compared)]
    if gains:
        body = [[*_identity(row), *(_gain_text(row, c) for c in compared)] for row in gains]
        head = ["degradation", "set", "model", "weights", "N", "tile", *(c.label for c in compared)]
        parts.append("Gain over the degraded input on the same images; positive is better:")
        parts.append(_markdown_table(head, body))
    parts.append("\n".join(_notes(summary, metrics, facts)))
    return "\n\n".join(parts) + "\n"


def _identity(row: SummaryRow) -> list[str]:
    return [row.degradation, row.group, row.model, row.weights, str(row.images), row.tiles]


def _notes(summary: Sequence[SummaryRow], metrics: Metrics, facts: Facts) -> list[str]:
    lines = [
        f"* In parentheses: 95 % bootstrap interval over images, {facts.resamples} resamples, seed "
        f"{facts.seed}. Means over degradations average the sets of a degradation first.",
        f"* Pairs: {facts.pairs}. Sizes: "
        + "; ".join(dict.fromkeys(f"{row.degradation}/{row.group} {row.sizes}" for row in summary))
        + ".",
    ]
    for column in metrics.columns:
        why = metrics.missing.get(column.name)
        lines.append(f"* {column.label}: " + (f"not measured: {why}" if why else column.definition) + ".")
    counts = sorted(
        {
            f"{column.label} of {cell.images} of {row.images} images in {row.degradation}/{row.group}"
            for row in summary
            for column in metrics.columns
            if isinstance(cell := row.cells[column.name], Cell) and cell.images < row.images
        }
    )
    lines += [f"* {count}: the others are too small." for count in counts]
    lines.append("* " + ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".")
    return lines + [f"* {note}" for note in facts.notes]


def _heading(column: Column) -> str:
    return f"{column.label} {'↑' if column.better == 'higher' else '↓'}"


def _text(cell: Cell | str, column: Column) -> str:
    if isinstance(cell, str):
        return "not measured"
    return _interval_text(cell.value, column.decimals)


def _gain(row: SummaryRow, column: Column) -> Interval | None:
    cell = row.cells[column.name]
    return cell.gain if isinstance(cell, Cell) else None


def _gain_text(row: SummaryRow, column: Column) -> str:
    gain = _gain(row, column)
    return "" if gain is None else _interval_text(gain, column.decimals, sign="+")


def _interval_text(value: Interval, decimals: int, sign: str = "") -> str:
    # adding zero turns -0.00 into 0.00
    mean, low, high = (
        f"{round(number, decimals) + 0.0:{sign}.{decimals}f}"
        for number in (value.mean, value.low, value.high)
    )
    return mean if math.isnan(value.low) else f"{mean} ({low} to {high})"


def _markdown_table(head: list[str], body: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _csv_cell(cell: Cell | str) -> list[object]:
    if isinstance(cell, str):
        return [cell, "", "", 0, "", "", ""]
    gain = cell.gain or Interval(math.nan, math.nan, math.nan)
    value = [_number(number) for number in (cell.value.mean, cell.value.low, cell.value.high)]
    return [*value, cell.images, *(_number(number) for number in (gain.mean, gain.low, gain.high))]


def _number(value: float | None) -> str:
    """Empty where there is none; else as many digits as anybody could use."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """A table is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
