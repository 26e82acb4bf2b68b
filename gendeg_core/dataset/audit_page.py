"""The audit report: one HTML file that needs no other, with verdict, numbers, figures and pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import numpy as np

from gendeg_core.dataset.audit_checks import open_pictures
from gendeg_core.dataset.audit_figures import calibration_figure, histogram_figure
from gendeg_core.dataset.audit_numbers import AuditNumbers, KindNumbers, Pick

THUMB = 168  # longer side in pixels

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2327; background: #fff; max-width: 1080px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.4rem; border-bottom: 1px solid #ccc }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
table { border-collapse: collapse; margin: .6rem 0 } th, td { padding: .2rem .7rem; text-align: left;
  border-bottom: 1px solid #ddd; vertical-align: top } td.n, th.n { text-align: right;
  font-variant-numeric: tabular-nums } .pass { color: #14692c; font-weight: 600 }
.fail { color: #a3151b; font-weight: 600 } .scroll { overflow-x: auto } img.wide { max-width: 100% }
.sheet { display: flex; flex-wrap: wrap; gap: .8rem } figure { margin: 0; width: 340px }
figure div { display: flex; gap: 4px } figure img { max-width: 168px }
figcaption { font-size: 12px; overflow-wrap: anywhere; line-height: 1.35; color: #444 }
"""


def audit_page(numbers: AuditNumbers, output: Path, seed: int) -> str:
    """The report on the data set in `output` as HTML; `seed` is what the rows to look at were drawn with."""
    verdict = _mark(numbers.passed, "passed", "failed")
    parts = [
        f"<h1>Audit of {escape(output.resolve().name)}: {verdict}</h1>",
        f"<p>{numbers.made:,} pairs made, {numbers.accepted:,} accepted.</p>",
        _table(
            ("Criterion", "", "Finding"),
            ((escape(c.name), _mark(c.passed, "pass", "fail"), escape(c.finding)) for c in numbers.checks),
        ),
        "<h2>Counts</h2>",
        _counts(numbers.kinds),
        "<h2>Asked and obtained</h2>",
        "<p>All pairs made. Points: mean of what was obtained, per bin of what was asked; bars: one standard "
        "deviation. On the dashed line both are equal.</p>",
        _calibration(numbers.kinds),
        _image("mu obtained against mu asked", calibration_figure(numbers.kinds, "mu")),
        _image("sigma obtained against sigma asked", calibration_figure(numbers.kinds, "sigma")),
        "<h2>Histograms of mu and sigma</h2>",
        "<p>Accepted pairs beside the published training data, in the published bins; colour is the "
        "logarithm of the count, each panel with its own scale.</p>",
        _image("joint histograms, made and published", histogram_figure(numbers.kinds)),
        "<h2>Refused pairs</h2>",
        _gallery(numbers.rejects, "The filter refused none.", why=True),
        "<h2>Accepted pairs</h2>",
        f"<p>Target and degraded image of pairs drawn at random (seed {seed}).</p>",
        _gallery(numbers.examples, "There are none.", why=False),
        "<h2>How it was made</h2>",
        _facts(numbers),
    ]
    body = "\n".join(parts)
    title = f"Audit of {escape(output.resolve().name)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _counts(kinds: dict[str, KindNumbers]) -> str:
    words = sorted({word for kind in kinds.values() for word in kind.reasons})
    rows = [
        (_label(name), kind.planned, kind.made, kind.accepted, f"{kind.rejected_share:.1%}")
        + tuple(kind.reasons[word] for word in words)
        for name, kind in kinds.items()
    ]
    sums = [sum(getattr(k, what) for k in kinds.values()) for what in ("planned", "made", "accepted")]
    share = f"{1 - sums[2] / sums[1]:.1%}" if sums[1] else "0.0%"
    rows.append(
        ("all", sums[0], sums[1], sums[2], share)
        + tuple(sum(k.reasons[w] for k in kinds.values()) for w in words)
    )
    return _table(("", "planned", "made", "accepted", "refused", *map(escape, words)), rows)


def _calibration(kinds: dict[str, KindNumbers]) -> str:
    titles = ("", "pairs", *(f"{q} {what}" for q in ("mu", "sigma") for what in ("error", "bias", "corr.")))
    rows = []
    for name, kind in kinds.items():
        cells = [_number(v) for c in (kind.mu, kind.sigma) for v in (c.mean_error, c.bias, c.correlation)]
        rows.append((_label(name), kind.mu.pairs, *cells))
    note = "<p>error: mean of |obtained - asked|; bias: mean of obtained - asked; corr.: Pearson's.</p>"
    return _table(titles, rows) + note


def _gallery(groups: dict[str, list[Pick]], nothing: str, *, why: bool) -> str:
    parts = []
    for name in sorted(groups):
        pictures = {v["item_id"]: _figure(v, t, d, why) for v, t, d in open_pictures(groups[name])}
        cells = [pictures[p.values["item_id"]] for p in groups[name] if p.values["item_id"] in pictures]
        parts.append(f'<h3>{escape(_label(name))}</h3>\n<div class="sheet">{"".join(cells)}</div>')
    return "\n".join(parts) or f"<p>{nothing}</p>"


def _figure(values: dict[str, object], target: np.ndarray, degraded: np.ndarray, why: bool) -> str:
    asked = f"asked mu {_number(values['mu'])} sigma {_number(values['sigma'])}"
    obtained = f"obtained mu {_number(values['mu_obtained'])} sigma {_number(values['sigma_obtained'])}"
    lines = [escape(str(values["photo"])), asked, obtained]
    if why:
        lines = [_label(str(values["degradation"])) + ", " + lines[0], escape(str(values["reason"])), asked]
    pair = "".join(
        f'<img alt="{what}" src="{_url(_thumbnail(pixels), "jpeg")}">'
        for what, pixels in (("target", target), ("degraded", degraded))
    )
    return f"<figure><div>{pair}</div><figcaption>{'<br>'.join(lines)}</figcaption></figure>"


def _thumbnail(pixels: np.ndarray) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMB, THUMB))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def _facts(numbers: AuditNumbers) -> str:
    made_with = [
        (name.replace("_", " "), "<br>".join(f"{escape(v)} ({n:,} rows)" for v, n in counts.most_common()))
        for name, counts in numbers.facts.items()
    ]
    settings = [
        (f"plan: {name.replace('_', ' ')}", escape(_plain(value)))
        for name, value in asdict(numbers.plan.settings).items()
        if name != "photos"  # the report may be published
    ]
    return _table(("", ""), [*made_with, *settings], numeric=False)


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, numeric: bool = True) -> str:
    """Cells are HTML already; whole numbers and decimals stand to the right."""

    def cell(value: object) -> str:
        text = f"{value:,}" if isinstance(value, int) else str(value)
        right = numeric and text.strip("%-+").replace(",", "").replace(".", "").isdigit()
        return f'<td class="n">{text}</td>' if right else f"<td>{text}</td>"

    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "\n".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _image(alt: str, png: bytes) -> str:
    return f'<p><img class="wide" alt="{alt}" src="{_url(png, "png")}"></p>'


def _url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _mark(passed: bool, good: str, bad: str) -> str:
    return f'<span class="{"pass" if passed else "fail"}">{good if passed else bad}</span>'


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) and math.isfinite(value) else "-"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _label(name: str) -> str:
    return name.replace("_", " ")
