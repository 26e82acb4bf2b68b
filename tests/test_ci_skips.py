"""A browser test that skips passes on a machine without a browser, and fails in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARKED = "import pytest\n@pytest.mark.browser\ndef test_page():\n    pytest.skip('no chromium')\n"
WHOLE_MODULE = "import pytest\npytest.importorskip('no_such_browser_driver')\n"
UNMARKED = "import pytest\ndef test_gpu():\n    pytest.skip('no GPU')\n"


def run_pytest(folder: Path, source: str, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_sample.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(folder), "-c", str(folder / "pytest.ini"), str(folder)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("source", "folder"),
    [(MARKED, "tests/elsewhere"), (WHOLE_MODULE, "tests/browser")],
    ids=["test", "module"],
)
def test_skipped_browser_test_fails_in_ci_only(tmp_path: Path, source: str, folder: str):
    place = tmp_path / folder
    place.mkdir(parents=True)
    in_ci = run_pytest(place, source, "true")
    assert in_ci.returncode != 0, in_ci.stdout
    assert "must not skip in CI" in in_ci.stdout
    at_home = run_pytest(place, source, "")
    assert at_home.returncode in (0, 5), at_home.stdout  # 5: nothing left to run
    assert "1 skipped" in at_home.stdout


def test_other_tests_may_skip_in_ci(tmp_path: Path):
    assert run_pytest(tmp_path, UNMARKED, "true").returncode == 0
