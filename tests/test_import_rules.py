"""Who may import whom. The source is parsed, so imports inside functions and under TYPE_CHECKING count too.

The core is a house of floors: a room may use the floors below its own, and no other room on its floor.
"""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gendeg_core

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "gendeg_core", "train")

# From the ground up. A room is a file or a folder of gendeg_core; the longest name that fits counts.
FLOORS = (
    {"types", "seeds", "paths", "device"},
    {"statistics", "images", "weights", "nafnet_blocks", "tiles", "checkpoint_files", "scatter"},
    {"generate", "restore", "simulate", "metrics"},
    {"synthesize", "embed", "metrics.table"},
    {"dataset"},
    {"evaluate"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

FORBIDDEN = {
    "gendeg_core": {"app", "train", "gradio", "gradio_client", "spaces", "tests"},
    "app": {"train", "tests"},
    "train": {"app", "gradio", "spaces", "tests"},
}

# Import name to the name in requirements.txt, where the two differ.
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "sklearn": "scikit-learn"}
DISTRIBUTIONS |= {"open_clip": "open-clip-torch"}
# spaces comes with every Hugging Face Space, ray and spandrel with extras of pyproject.toml; the rest runs
# without them.
OPTIONAL = {"ray", "spaces", "spandrel"}
# Each of these takes a good part of a second to import.
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "gradio", "timm", "lpips", "open_clip"}
HEAVY |= {"sklearn", "scipy", "cv2", "matplotlib", "pandas", "accelerate"}


def module_name(file: Path, root: Path) -> str:
    parts = list(file.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(file: Path, root: Path) -> set[str]:
    """Full dotted names of everything `file` imports; for `from a import b` both a and a.b."""
    package = module_name(file, root).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                found.add(str(node.args[0].value))
    return found


def room_of(module: str) -> str | None:
    """The room of the core that `module` (gendeg_core.a.b) belongs to; None for the front door itself."""
    name = module.removeprefix("gendeg_core").removeprefix(".")
    public = gendeg_core._PUBLIC.get(name)
    if public is not None and name not in FLOOR_OF:
        return room_of(public)
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in FLOOR_OF:
            return ".".join(parts[:length])
    return None


def violations(root: Path) -> list[str]:
    """One sentence per forbidden import in the packages under `root`."""
    found = []
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            for target in sorted(imported_modules(file, root)):
                place = f"{file.relative_to(root)} imports {target}"
                if target.split(".")[0] in FORBIDDEN[package]:
                    found.append(f"{place}: {package} never imports {target.split('.')[0]}")
                elif package == "gendeg_core" and target.startswith("gendeg_core."):
                    found += wrong_floor(room_of(module_name(file, root)), room_of(target), place)
    return found


def wrong_floor(here: str | None, there: str | None, place: str) -> list[str]:
    if here is None or there is None or here == there:
        return []
    if FLOOR_OF[there] < FLOOR_OF[here]:
        return []
    return [f"{place}: {there} (floor {FLOOR_OF[there]}) is not below {here} (floor {FLOOR_OF[here]})"]


def test_imports_go_downward_only():
    assert violations(ROOT) == []


def test_every_room_of_the_core_has_a_floor():
    files = (ROOT / "gendeg_core").rglob("*.py")
    modules = {module_name(file, ROOT) for file in files} - {"gendeg_core"}
    homeless = sorted(module for module in modules if room_of(module) is None)
    assert homeless == [], f"say in FLOORS on which floor these live: {homeless}"


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("gendeg_core/images/io.py", "def f():\n    import gradio as gr", "never imports gradio"),
        ("gendeg_core/cli.py", "from app.main import build_demo", "never imports app"),
        ("app/main.py", "import train.gendeg", "never imports train"),
        ("train/gendeg.py", "from app import main", "never imports app"),
        ("gendeg_core/types.py", "from gendeg_core.statistics import measure", "statistics (floor 1)"),
        ("gendeg_core/types.py", "from gendeg_core import measure", "statistics (floor 1)"),
        ("gendeg_core/types.py", "from .statistics import measure", "statistics (floor 1)"),
        ("gendeg_core/generate/pipeline.py", "from gendeg_core import simulate", "simulate (floor 2)"),
        ("gendeg_core/simulate/haze.py", "from ..generate import unet", "generate (floor 2)"),
        ("gendeg_core/metrics/psnr.py", "import gendeg_core.metrics.table", "metrics.table (floor 3)"),
        ("gendeg_core/images/io.py", "f = importlib.import_module('gendeg_core.cli')", "cli (floor 7)"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, source: str, complaint: str):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(source)
    found = violations(tmp_path)
    assert found, "the rules let this pass"
    assert all(complaint in sentence for sentence in found)


def test_downward_imports_pass(tmp_path: Path):
    (tmp_path / "gendeg_core/generate").mkdir(parents=True)
    (tmp_path / "gendeg_core/generate/pipeline.py").write_text(
        "import torch\nfrom gendeg_core.types import Degradation\n"
        "from .unet import UNet\nfrom gendeg_core import measure\n"
    )
    assert violations(tmp_path) == []


def required() -> set[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines if not line.startswith("#"))
    return {name.group().lower().replace("_", "-") for name in names if name}


def test_every_imported_distribution_is_required():
    missing = set()
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            tops = {name.split(".")[0] for name in imported_modules(file, ROOT)}
            for top in tops - set(sys.stdlib_module_names) - {*PACKAGES, *OPTIONAL, ""}:
                if DISTRIBUTIONS.get(top, top).lower().replace("_", "-") not in required():
                    missing.add(f"{file.relative_to(ROOT)}: {top}")
    assert missing == set()


def test_importing_the_library_loads_nothing_heavy():
    code = "import sys, json, gendeg_core.types; dir(gendeg_core); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "gendeg_core" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", gendeg_core.__all__)
def test_every_public_name_can_be_imported(name: str):
    assert getattr(gendeg_core, name).__name__ == name


def test_no_public_name_hides_behind_a_module():
    """Importing gendeg_core.simulate sets the attribute `simulate` to the module, for good."""
    modules = {info.name for info in pkgutil.iter_modules(gendeg_core.__path__)}
    assert modules & set(gendeg_core.__all__) == set()


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gendeg_core.nothing
