"""A run that is killed and started again ends exactly like one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tests.train.test_gendeg import losses
from train import gendeg

ROOT = Path(__file__).parents[2]


def start_and_kill(command: list[str], sign_of_life: Path, longest_wait: float) -> None:
    """Run `command` and kill -9 it at a random moment after `sign_of_life` has appeared."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE) as process:
        while not sign_of_life.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.uniform(0, longest_wait))
        process.kill()
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()


def test_a_killed_run_resumes_exactly(finished: gendeg.GenDegConfig, tmp_path: Path) -> None:
    config = replace(finished, output=tmp_path / "run")
    options = (
        f"--preset tiny --photos {config.photos} --captions {config.captions} --output {config.output} "
        "--pool 24 --steps 24 --gradient-accumulation 2 --log-every 1 --save-every 4 --sample-every 100 "
        "--caption-dropout 0.3 --clip 1 --warmup 20 --learning-rate 2e-3"
    )
    start_and_kill(
        [sys.executable, "-m", "train.gendeg", *options.split()],
        config.output / "checkpoint",
        longest_wait=0.5,
    )
    assert not (config.output / "weights").exists()

    gendeg.main(config)
    assert losses(config.output) == losses(finished.output)  # to the last digit
    weights = sorted(
        p.relative_to(finished.output) for p in finished.output.rglob("weights/**/*.safetensors")
    )
    assert len(weights) == 4
    for path in weights:
        assert (config.output / path).read_bytes() == (finished.output / path).read_bytes(), path


def test_a_longer_run_continues_where_the_first_ended(finished: gendeg.GenDegConfig, tmp_path: Path) -> None:
    config = replace(finished, output=tmp_path / "run", steps=8)
    gendeg.main(config)
    gendeg.main(replace(config, steps=12))
    continued, whole = losses(config.output), losses(finished.output)
    assert continued == {step: whole[step] for step in range(1, 13)}
