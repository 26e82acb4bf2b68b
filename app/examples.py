"""Photos to start with: two that come with scikit-learn and two scenes drawn here."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 720, 480


@dataclass(frozen=True)
class Example:
    """A photo to start with, and the caption that describes it."""

    name: str
    caption: str
    path: Path


@functools.cache
def example_photos() -> tuple[Example, ...]:
    """All examples as files in a temporary folder of this process, removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="gendeg-examples-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    examples = []
    for name, caption in PHOTOGRAPHED:
        source = _scikit_learn_photo(name)
        if (
            source is not None
        ):  # copied, because a server may only show files of its own and temporary folders
            examples.append(Example(name, caption, Path(shutil.copyfile(source, folder / source.name))))
    for name, caption, draw in DRAWN:
        path = folder / f"{name}.png"
        draw().save(path)
        examples.append(Example(name, caption, path))
    return tuple(examples)


def _scikit_learn_photo(name: str) -> Path | None:
    """Where scikit-learn keeps its sample photo, found without the second that importing it takes."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        path = Path(folder) / "datasets" / "images" / f"{name}.jpg"
        if path.exists():
            return path
    return None


def _gradient(top: tuple[int, int, int], bottom: tuple[int, int, int], bend: float = 1.0) -> Image.Image:
    """A vertical colour gradient; `bend` above 1 keeps the top colour for longer."""
    share = (np.linspace(0, 1, HEIGHT) ** bend)[:, None, None]
    column = np.array(top) * (1 - share) + np.array(bottom) * share
    return Image.fromarray(np.broadcast_to(column, (HEIGHT, WIDTH, 3)).astype(np.uint8))


def _ridge(rng: np.random.Generator, base: float, rise: float, roughness: float) -> np.ndarray:
    """Heights (WIDTH,) of a mountain line: a sum of sines whose amplitude falls with frequency."""
    x = np.linspace(0, 2 * np.pi, WIDTH)
    line = np.zeros(WIDTH)
    for octave in range(1, 9):
        line += (
            rng.uniform(0.4, 1)
            / octave**roughness
            * np.sin(octave * x * rng.uniform(0.7, 1.3) + rng.uniform(0, 6))
        )
    line = (line - line.min()) / (line.max() - line.min())
    return base - rise * line


def _grain(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Fine and coarse texture, so that the flat fields of a drawing behave like surfaces."""
    pixels = np.asarray(image, np.float64)
    coarse = Image.fromarray((rng.random((HEIGHT // 8, WIDTH // 8)) * 255).astype(np.uint8)).resize(
        (WIDTH, HEIGHT)
    )
    texture = (
        rng.normal(0, 1, (HEIGHT, WIDTH, 1)) + (np.asarray(coarse, np.float64)[..., None] / 255 - 0.5) * 3
    )
    return Image.fromarray(np.clip(pixels + strength * texture, 0, 255).astype(np.uint8))


def draw_mountain_lake() -> Image.Image:
    """Five ridges one behind the other, a lake with their reflection, and firs in front."""
    rng = np.random.default_rng(11)
    shore = 330
    image = _gradient((74, 129, 199), (226, 224, 206), 1.2)
    pen = ImageDraw.Draw(image)
    for depth, colour in enumerate(
        [(146, 165, 186), (110, 136, 152), (84, 118, 116), (62, 98, 78), (48, 80, 52)]
    ):
        line = _ridge(rng, 215 + 28 * depth, 120 - 17 * depth, 1.25)
        pen.polygon([(0, shore), *enumerate(line), (WIDTH, shore)], fill=colour)
    mirrored = image.crop((0, 2 * shore - HEIGHT, WIDTH, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    water = Image.new("RGB", mirrored.size, (40, 84, 110))
    lake = Image.blend(mirrored.filter(ImageFilter.BoxBlur(3)), water, 0.35)
    image.paste(lake, (0, shore))
    pen = ImageDraw.Draw(image)
    for _ in range(140):
        x, y = rng.uniform(0, WIDTH), rng.uniform(shore + 4, HEIGHT)
        reach = rng.uniform(6, 40) * (y - shore) / 90
        pen.line([(x, y), (x + reach, y)], fill=(150, 184, 200), width=1)
    for x in np.sort(rng.uniform(0, WIDTH, 26)):
        if 250 < x < 520:
            continue  # the middle stays open
        _fir(pen, x, HEIGHT + 12, rng.uniform(90, 230), rng)
    return _grain(image, rng, 3.0)


def _fir(pen: ImageDraw.ImageDraw, x: float, foot: float, height: float, rng: np.random.Generator) -> None:
    for level in np.linspace(0, 1, 9):
        reach = height * 0.19 * (1 - level) + 3
        y = foot - height * level
        green = int(46 + 34 * level + rng.uniform(-6, 6))
        pen.polygon([(x - reach, y), (x + reach, y), (x, y - height * 0.24)], fill=(22, green, 34))


def draw_street() -> Image.Image:
    """A street in one-point perspective: house fronts with windows, kerbs, lamps and a few cars."""
    rng = np.random.default_rng(23)
    image = _gradient((96, 152, 214), (232, 226, 212), 0.9)
    pen = ImageDraw.Draw(image)
    vanish = (WIDTH * 0.5, HEIGHT * 0.52)

    def towards(x: float, y: float, share: float) -> tuple[float, float]:
        return (x + (vanish[0] - x) * share, y + (vanish[1] - y) * share)

    pen.polygon([(-260, HEIGHT), (WIDTH + 260, HEIGHT), vanish], fill=(92, 92, 98))
    for side in (-1, 1):
        edge = WIDTH / 2 + side * 430
        kerb = WIDTH / 2 + side * 300
        pen.polygon([(edge, HEIGHT), (kerb, HEIGHT), vanish], fill=(168, 160, 150))
        cuts = 1 - 0.78 ** np.arange(9)
        for near, far in zip(cuts[:-1][::-1], cuts[1:][::-1], strict=True):
            _house(pen, rng, towards, edge, near, far)
        for share in (0.75, 0.62, 0.42, 0.12):
            foot, head = towards(kerb, HEIGHT, share), towards(kerb, 120, share)
            pen.line([foot, head], fill=(44, 46, 52), width=max(1, int(6 * (1 - share))))
            radius = 9 * (1 - share) + 1
            pen.ellipse(
                [head[0] - radius, head[1] - radius, head[0] + radius, head[1] + radius], fill=(255, 236, 170)
            )
    for share in np.linspace(0.05, 0.9, 12):
        near, far = towards(WIDTH / 2, HEIGHT, share), towards(WIDTH / 2, HEIGHT, share + 0.035)
        pen.line([near, far], fill=(226, 224, 214), width=max(1, int(9 * (1 - share))))
    for x, share, colour in (
        (520, 0.55, (176, 42, 40)),
        (230, 0.35, (36, 74, 132)),
        (560, 0.2, (214, 176, 60)),
    ):
        _car(pen, towards(x, HEIGHT, share), 150 * (1 - share), colour)
    return _grain(image, rng, 4.0)


def _house(
    pen: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    towards: Callable[[float, float, float], tuple[float, float]],
    edge: float,
    near: float,
    far: float,
) -> None:
    """One front between two depths, its windows in the same perspective."""
    wall = np.array(
        [(186, 122, 92), (206, 190, 160), (150, 104, 96), (176, 172, 166), (212, 160, 110)][rng.integers(5)]
    )
    top = rng.uniform(-120, 60)
    corners = [
        towards(edge, HEIGHT, near),
        towards(edge, HEIGHT, far),
        towards(edge, top, far),
        towards(edge, top, near),
    ]
    pen.polygon(corners, fill=tuple(int(v) for v in wall))
    floors, columns = int(rng.integers(4, 7)), 3
    for floor in range(floors):
        low = HEIGHT - (HEIGHT - top) * (floor + 0.3) / (floors + 0.2)
        high = HEIGHT - (HEIGHT - top) * (floor + 0.8) / (floors + 0.2)
        for column in range(columns):
            start = near + (far - near) * (column + 0.25) / columns
            end = near + (far - near) * (column + 0.75) / columns
            glass = (52, 66, 84) if rng.random() < 0.8 else (238, 214, 150)
            pen.polygon(
                [
                    towards(edge, low, start),
                    towards(edge, low, end),
                    towards(edge, high, end),
                    towards(edge, high, start),
                ],
                fill=glass,
            )


def _car(
    pen: ImageDraw.ImageDraw, foot: tuple[float, float], size: float, colour: tuple[int, int, int]
) -> None:
    x, y = foot
    pen.rounded_rectangle(
        [x - size / 2, y - size * 0.45, x + size / 2, y - size * 0.08], size * 0.08, fill=colour
    )
    pen.rounded_rectangle(
        [x - size * 0.36, y - size * 0.72, x + size * 0.36, y - size * 0.4], size * 0.1, fill=colour
    )
    pen.rounded_rectangle(
        [x - size * 0.3, y - size * 0.67, x + size * 0.3, y - size * 0.45], size * 0.05, fill=(70, 88, 104)
    )
    for wheel in (-0.32, 0.32):
        pen.ellipse(
            [x + size * (wheel - 0.1), y - size * 0.2, x + size * (wheel + 0.1), y], fill=(28, 28, 30)
        )
    for lamp in (-0.4, 0.4):
        pen.ellipse(
            [x + size * (lamp - 0.05), y - size * 0.32, x + size * (lamp + 0.05), y - size * 0.22],
            fill=(224, 60, 48),
        )


PHOTOGRAPHED = (
    ("china", "a pagoda on a hill above a lake"),
    ("flower", "an orange dahlia in front of dark green leaves"),
)
DRAWN: tuple[tuple[str, str, Callable[[], Image.Image]], ...] = (
    ("mountain_lake", "a mountain lake with fir trees", draw_mountain_lake),
    ("street", "a city street with houses and cars", draw_street),
)
