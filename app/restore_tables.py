"""A comparison as the page shows it: the table of numbers, the panes of the zoom grid, the network cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from gradio.data_classes import ImageData

from app.restore_session import CLEAN, Comparison, Version
from app.restorers import NONE_SHIPPED, Choice
from app.widgets.zoom_grid import Pane, Panes

# heading, what it reads from a version, how it is written; metrics only where the clean photo is known
Column = tuple[str, Callable[[Version], float | None], str]
METRICS: tuple[Column, ...] = (
    ("PSNR (dB)", lambda version: version.psnr, ".2f"),
    ("SSIM", lambda version: version.ssim, ".4f"),
)
FACTS: tuple[Column, ...] = (
    ("brightness", lambda version: version.appearance.brightness, ".3f"),
    ("contrast", lambda version: version.appearance.contrast, ".3f"),
    ("fine detail", lambda version: version.appearance.detail, ".4f"),
    ("noise", lambda version: version.appearance.noise, ".4f"),
)
TIME: tuple[Column, ...] = (("time (s)", lambda version: version.seconds, ".2f"),)
WITH_CLEAN = (
    "PSNR and SSIM against the clean photo, RGB, 8 bit; higher is better, the best network in bold. "
    "A network below the input made it worse."
)
WITHOUT_CLEAN = (
    "The clean photo is not known, so nothing here says which is best: these are measurements of each "
    "picture. Add the clean version on the left to get PSNR and SSIM."
)


def numbers_table(comparison: Comparison) -> str:
    """HTML: one row per version, metrics if the clean photo is known, else facts about each picture."""
    known = comparison.version(CLEAN) is not None
    columns = [*(METRICS if known else FACTS), *TIME]
    rows = [version for version in comparison.versions if not (known and version.key == CLEAN)]
    best = {heading: _best(rows, read) for heading, read, _ in METRICS} if known else {}
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _, _ in columns)
    body = "".join(_row(version, columns, best) for version in rows)
    hint = WITH_CLEAN if known else WITHOUT_CLEAN
    return (
        f'<div class="numbers"><div class="scroll"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div><p>{hint}</p></div>"
    )


def _best(rows: Sequence[Version], read: Callable[[Version], float | None]) -> float | None:
    """The highest value of a network; no winner among one."""
    values = [value for row in rows if row.seconds is not None and (value := read(row)) is not None]
    return max(values) if len(values) > 1 else None


def _row(version: Version, columns: Sequence[Column], best: dict[str, float | None]) -> str:
    cells = []
    for heading, read, style in columns:
        value = read(version)
        text = "–" if value is None else format(value, style)
        won = value is not None and version.seconds is not None and value == best.get(heading)
        cells.append(f"<td>{f'<b>{text}</b>' if won else text}</td>")
    return f"<tr><th>{escape(version.title)}</th>{''.join(cells)}</tr>"


def panes_of(comparison: Comparison, patch: tuple[float, float, float]) -> Panes:
    """The zoom grid: input first, networks in their order, those to come as empty panes, clean last."""
    done = [_pane(version) for version in comparison.versions if version.key != CLEAN]
    coming = [Pane(title=title) for title in comparison.expected]
    clean = comparison.version(CLEAN)
    width, height = comparison.size
    return Panes(
        photo=comparison.photo.name,
        width=width,
        height=height,
        patch=list(patch),
        panes=[*done, *coming, *([_pane(clean)] if clean else [])],
    )


def _pane(version: Version) -> Pane:
    return Pane(
        title=version.title,
        badges=list(version.badges),
        note=version_note(version),
        image=ImageData(path=version.shown),
    )


def version_note(version: Version) -> str:
    """PSNR, SSIM and time of one version, as far as they are known, on one line."""
    facts = []
    if version.psnr is not None:
        facts.append(f"{version.psnr:.2f} dB")
    if version.ssim is not None:
        facts.append(f"SSIM {version.ssim:.3f}")
    if version.seconds is not None:
        tiles = f" in tiles of {version.tile}" if version.tile else ""
        facts.append(f"{version.seconds:.2f} s{tiles}")
    return " · ".join(facts)


def cards(choices: Sequence[Choice]) -> str:
    """HTML: every network with its badges and what is to be known of it."""
    if not choices:
        return f'<div class="cards"><p>{escape(NONE_SHIPPED)}</p></div>'
    return f'<div class="cards">{"".join(_card(choice) for choice in choices)}</div>'


def _card(choice: Choice) -> str:
    badges = "".join(f"<i>{escape(badge)}</i>" for badge in choice.badges)
    title, about = escape(choice.title), escape(choice.about)
    return f"<div><strong>{title}</strong><span>{badges}</span><p>{about}</p></div>"
