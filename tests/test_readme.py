"""The README tells the truth: its front matter, its make targets, its code and its commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from sklearn.datasets import load_sample_image

from gendeg_core.cli import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_, FRONT, BODY = README.split("---\n", 2)
SPACE_COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


def front_matter() -> dict[str, Any]:
    return yaml.safe_load(FRONT)


def code_blocks(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", BODY, re.MULTILINE | re.DOTALL)
    return [text for name, text in blocks if name == language]


def test_front_matter_names_what_exists():
    front = front_matter()
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert (ROOT / front["app_file"]).is_file()
    assert f"gradio=={front['sdk_version']}" in constraints
    assert front["sdk"] == "gradio"
    assert front["license"] == "mit"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def test_front_matter_is_what_a_space_accepts():
    front = front_matter()
    assert len(front["short_description"]) <= 60
    assert {front["colorFrom"], front["colorTo"]} <= SPACE_COLOURS
    assert front["python_version"] in ("3.11", "3.12", "3.13")  # a number would turn 3.10 into 3.1
    assert front["suggested_hardware"] in ("cpu-basic", "zero-a10g")


def test_a_space_may_choose_its_own_gradio_and_pydantic():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    fixed = [line for line in lines if re.match(r"(gradio|pydantic|uvicorn|spaces|torch)\b.*==", line)]
    assert fixed == []


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", BODY, re.MULTILINE))
    named |= set(re.findall(r"^make ([a-z]+)", (ROOT / ".ci/run").read_text(), re.MULTILINE))
    assert {"app", "test", "check", "bench"} <= named
    assert named <= targets


def test_every_folder_and_file_named_exists():
    named = re.findall(r"`((?:app|gendeg_core|train|assets|tests|\.ci)/[\w./]*)`", BODY)
    assert len(named) >= 6
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_command_lines_are_accepted():
    commands = [
        shlex.split(line)[3:]
        for block in code_blocks("")
        for line in re.sub(r"\\\n|[\[\]]|gendeg\|(?=simulator)", "", block).splitlines()
        if line.startswith("python -m gendeg_core ")
    ]
    assert {command[0] for command in commands} == set(
        re.findall(r"^    (\w+)  ", build_parser().format_help(), re.M)
    )
    for command in commands:
        build_parser().parse_args(["1" if word == "N" else word for word in command])


def test_modules_named_in_commands_exist():
    named = set(re.findall(r"-m ([\w.]+)", BODY)) - {"gendeg_core"}
    assert {"train.gendeg", "gendeg_core.simulate.coverage"} <= named
    for module in named:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("block", code_blocks("python"))
def test_library_example_runs(block: str, tmp_path: Path):
    Image.fromarray(load_sample_image("china.jpg")).resize((160, 107)).save(tmp_path / "photo.jpg")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{block}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mu, sigma, weights = done.stdout.split()
    assert float(mu) == pytest.approx(0.20, abs=0.02)
    assert 0 < float(sigma) < 0.4
    assert weights.startswith("simulator:")
    with Image.open(tmp_path / "hazy.png") as hazy:
        assert hazy.size == (160, 107)
