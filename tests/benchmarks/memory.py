"""What restoring a photo of 12 megapixels costs in memory: each network in a Python of its own, on the CPU.

`python -m tests.benchmarks.memory MODEL HEIGHT WIDTH` is that Python; it prints one line of JSON.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from gendeg_core.restore.infer import Restored, restore_steps
from gendeg_core.restore.loading import Restorer, ready
from gendeg_core.restore.zoo import MODELS, build
from tests.benchmarks.cases import ROOT

HEIGHT, WIDTH = 3000, 4000
MIB = 2**20


@dataclass(frozen=True)
class Footprint:
    """Resident memory of one restoration in bytes.

    Args:
        before: the most until then, with libraries, network and photo.
        peak: the most in all.
        tile: side of the tiles in pixels; None for one piece.
    """

    before: int
    peak: int
    tile: int | None


def memory_report() -> str:
    """One line per network, of the size that ships; its weights do not matter here."""
    photo = 3 * HEIGHT * WIDTH * 4 / MIB
    lines = [
        f"restoring {WIDTH} x {HEIGHT} pixels, peak resident memory in MiB; the photo alone takes {photo:.0f}"
    ]
    lines.append(f"{'network':<10}{'tile':>6}{'before':>9}{'peak':>9}{'extra':>9}")
    for model in MODELS:
        found = footprint(model, HEIGHT, WIDTH)
        numbers = (found.before, found.peak, found.peak - found.before)
        lines.append(f"{model:<10}{found.tile or 'whole':>6}{''.join(f'{n / MIB:9.0f}' for n in numbers)}")
    return "\n".join(lines)


def footprint(model: str, height: int, width: int) -> Footprint:
    """Measured in a fresh Python, whose peak nothing else has raised."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", model, str(height), str(width)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Footprint(**json.loads(done.stdout))


def restore_here(model: str, height: int, width: int) -> Footprint:
    """Restore noise of that size in this process."""
    net = ready(build(model, "embedded"), torch.device("cpu"))
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    before = _peak()
    *_, last = restore_steps(Restorer(net, model, "random"), image)
    assert isinstance(last, Restored), "the steps end with the result"
    return Footprint(before, _peak(), last.tile)


def _peak() -> int:
    """Bytes that were resident at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage counts what the parent had when it started this process, too
        return int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS, in bytes


if __name__ == "__main__":
    print(json.dumps(asdict(restore_here(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
