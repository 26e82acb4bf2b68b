"""The entry point: started as a file it finds its packages, and it writes nothing into the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.main import ROOT, launch_arguments


def test_started_as_a_file_from_the_repository_root_it_finds_its_packages(tmp_path: Path) -> None:
    script = (
        "import runpy, sys, pathlib;"
        f"root = pathlib.Path({str(ROOT)!r});"
        "sys.path[0] = str(root / 'app');"  # as Python itself sets it for `python app/main.py`
        "scope = runpy.run_path(str(root / 'app' / 'main.py'), run_name='entry');"
        "assert str(root / 'app') not in sys.path;"
        "heavy = {'torch', 'diffusers', 'transformers', 'matplotlib.pyplot', 'sklearn'} & set(sys.modules);"
        "scope['build_demo']();"
        "print('built', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("built []")
    assert list(tmp_path.iterdir()) == []


def test_no_stub_files_are_written_beside_the_widgets() -> None:
    assert list((ROOT / "app").rglob("*.pyi")) == []


def test_nothing_phones_home_and_nothing_piles_up_in_the_browser() -> None:
    arguments = launch_arguments()
    assert (arguments["ssr_mode"], arguments["run_history"], arguments["enable_monitoring"]) == (False,) * 3
    assert arguments["theme"]._stylesheets == []  # web fonts would be listed here
