"""HaarPSI and LPIPS against implementations written from their papers; FSIM by what it must do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gendeg_core.metrics.perceptual import fsim, haarpsi, load_lpips
from gendeg_core.metrics.trunks import ALEXNET, Trunk, TrunkMissingError
from gendeg_core.seeds import torch_generator
from tests.metrics.scenes import noisy, scene

# torchvision's AlexNet: number of the layer, shape of its weights, stride and padding, pooled before
LAYERS = (
    *((0, (64, 3, 11, 11), 4, 2, False), (3, (192, 64, 5, 5), 1, 2, True)),
    *((6, (384, 192, 3, 3), 1, 1, True), (8, (256, 384, 3, 3), 1, 1, False)),
    (10, (256, 256, 3, 3), 1, 1, False),
)


def numpy_haarpsi(first: Tensor, second: Tensor) -> float:
    """Reisenhofer et al. 2018, equations 7 to 13, C = 30 and alpha = 4.2, for even sides."""

    def yiq(image: Tensor) -> np.ndarray:
        matrix = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
        planes = np.tensordot(matrix, image.double().numpy() * 255, 1)
        return (planes[:, ::2, ::2] + planes[:, 1::2, ::2] + planes[:, ::2, 1::2] + planes[:, 1::2, 1::2]) / 4

    def haar(plane: np.ndarray, scale: int) -> list[np.ndarray]:
        size = 2**scale
        kernel = np.ones((size, size)) / size
        kernel[: size // 2] *= -1
        return [same(plane, kernel), same(plane, kernel.T)]

    def same(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        from scipy.signal import convolve2d

        height, width = plane.shape
        first = kernel.shape[0] // 2  # the middle of an even window, as MATLAB's conv2 has it
        return convolve2d(plane, kernel)[first : first + height, first : first + width]

    def alike(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (2 * a * b + 30) / (a * a + b * b + 30)

    one, two = yiq(first), yiq(second)
    bands = [[haar(planes[0], scale) for scale in (1, 2, 3)] for planes in (one, two)]
    similarity, weights = [], []
    for way in (0, 1):
        fine = [alike(abs(bands[0][s][way]), abs(bands[1][s][way])) for s in (0, 1)]
        similarity.append(sum(fine) / 2)
        weights.append(np.maximum(abs(bands[0][2][way]), abs(bands[1][2][way])))
    mean = np.ones((2, 2)) / 4
    colours = [[abs(same(planes[k], mean)) for k in (1, 2)] for planes in (one, two)]
    similarity.append(sum(alike(a, b) for a, b in zip(*colours, strict=True)) / 2)
    weights.append((weights[0] + weights[1]) / 2)

    def logistic(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-4.2 * x))

    total = sum((logistic(s) * w).sum() for s, w in zip(similarity, weights, strict=True))
    mean_logistic = total / sum(w.sum() for w in weights)
    return float((np.log(mean_logistic / (1 - mean_logistic)) / 4.2) ** 2)


def test_haarpsi_follows_the_paper() -> None:
    clean = scene(64, 80)
    for restored in (noisy(clean, 0.08), clean * 0.6 + 0.2):
        assert haarpsi(restored, clean) == pytest.approx(numpy_haarpsi(restored, clean), abs=1e-4)


@pytest.mark.parametrize("metric", [haarpsi, fsim])
def test_more_noise_is_less_alike_and_equal_is_one(metric) -> None:
    clean = scene(64, 72)
    values = [metric(noisy(clean, amount), clean) for amount in (0, 0.05, 0.2)]
    assert values[0] == pytest.approx(1, abs=1e-4)
    assert values == sorted(values, reverse=True)


def test_fsim_sees_colour_and_blur() -> None:
    clean = scene(64, 72)
    grey = clean.mean(0, keepdim=True).expand(3, -1, -1)
    blurred = F.avg_pool2d(clean[None], 5, stride=1, padding=2, count_include_pad=False)[0]
    assert fsim(grey, clean) < 0.99
    assert fsim(blurred, clean) < 0.95


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AlexNet of random convolutions, named as torchvision names them."""
    generator, state = torch_generator(3), {}
    for number, shape, *_ in LAYERS:
        fan_in = shape[1] * shape[2] * shape[3]
        state[f"features.{number}.weight"] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        state[f"features.{number}.bias"] = torch.randn(shape[:1], generator=generator) * 0.1
    state["classifier.1.weight"] = torch.zeros(2, 2)
    path = tmp_path_factory.mktemp("trunk") / "alex.pth"
    torch.save(state, path)
    return path


def own_lpips(first: Tensor, second: Tensor, trunk: Path) -> float:
    """Zhang et al. 2018, equation 1, on the learnt channel weights that the lpips package carries."""
    import lpips

    file = Path(lpips.__file__).parent / "weights/v0.1/alex.pth"
    heads = torch.load(file, map_location="cpu", weights_only=True)
    state = torch.load(trunk, weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    x = torch.stack([(image * 2 - 1 - shift) / scale for image in (first, second)])
    total = 0.0
    for k, (number, _, stride, padding, pooled) in enumerate(LAYERS):
        if pooled:
            x = F.max_pool2d(x, 3, 2)
        weight, bias = (state[f"features.{number}.{kind}"] for kind in ("weight", "bias"))
        x = F.conv2d(x, weight, bias, stride=stride, padding=padding).relu()
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        squared = (unit[0] - unit[1]).square()
        total += float((squared * heads[f"lin{k}.model.1.weight"][0]).sum(0).mean())
    return total


def test_lpips_follows_the_paper_on_a_trunk_from_disk(trunk: Path) -> None:
    clean = scene(70, 96)
    restored = noisy(clean, 0.1)
    state = torch.random.get_rng_state()
    measure = load_lpips(trunk)
    assert torch.equal(state, torch.random.get_rng_state()), "loading drew from the global random numbers"
    assert measure(restored, clean) == pytest.approx(own_lpips(restored, clean, trunk), rel=1e-4)
    assert measure(clean, clean) == 0
    assert measure(noisy(clean, 0.3), clean) > measure(restored, clean) > 0


def test_what_is_no_alexnet_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg\.pth is no AlexNet of torchvision: features\.0\.weight"):
        load_lpips(tmp_path / "vgg.pth")
    torch.save(torch.nn.Conv2d(1, 1, 1), tmp_path / "pickled.pth")
    with pytest.raises(ValueError, match=r"pickled\.pth is no file of weights"):
        load_lpips(tmp_path / "pickled.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.pth is no file of weights"):
        load_lpips(tmp_path / "text.pth")


def test_a_trunk_is_found_where_torch_keeps_it_and_never_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, str]] = []

    def fetch(url: str, target: str, digits: str, progress: bool) -> None:
        fetched.append((target, digits))
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(TrunkMissingError, match=r"AlexNet weights are not on disk .* --lpips-trunk"):
        ALEXNET.find()
    assert fetched == []
    with pytest.raises(TrunkMissingError, match=r"could not be fetched \(no network\)"):
        ALEXNET.find(download=True)
    assert fetched == [(str(tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth"), "7be5be79")]
    with pytest.raises(FileNotFoundError, match="elsewhere is not a file"):
        ALEXNET.find(tmp_path / "elsewhere", download=True)
    ALEXNET.cached.write_bytes(b"")
    assert ALEXNET.find() == ALEXNET.cached


def test_the_address_comes_from_who_published_it() -> None:
    assert isinstance(ALEXNET, Trunk)
    assert ALEXNET.url().endswith(ALEXNET.file)
    from gendeg_core.metrics.trunks import INCEPTION

    assert INCEPTION.url().endswith(INCEPTION.file)


def test_a_missing_trunk_is_told_without_naming_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with pytest.raises(TrunkMissingError, match=r"\(~/cache/hub/checkpoints/alexnet-owt-7be5be79\.pth\)"):
        ALEXNET.find()
