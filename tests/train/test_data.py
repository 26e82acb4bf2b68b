"""Photos, pairs, the pool on disk and the share of each process."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from gendeg_core.dataset.readers import pairs_in
from gendeg_core.types import Degradation
from tests.train.drawn import PHOTOS, NoisePairs, draw_photo
from tests.train.test_resume import start_and_kill
from train.common import pool as pools
from train.common.data import as_batch, batches, pair_source, parse_emphasis, parse_pairs
from train.common.errors import UsageError
from train.common.latents import LatentPool, encode_pairs
from train.common.options import RunOptions
from train.common.pairs import MixedPairs, SimulatedPairs, StoredPairs
from train.common.photos import list_photos, read_crop
from train.common.pool import PairPool
from train.common.presets import configuration

# ------------------------------------------------------------------ photos


def test_held_out_and_training_photos_share_nothing(photos: tuple[Path, Path]) -> None:
    training, held = (list_photos(*photos, held=held) for held in (False, True))
    assert {r.path.name for r in held} == {"photo-00.png", "photo-10.png"}
    assert len({r.path for r in training} | {r.path for r in held}) == PHOTOS
    assert training[0].caption == "a house by road 1"


def test_unsuitable_photos_are_left_out_without_moving_the_others(
    photos: tuple[Path, Path], tmp_path: Path
) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("file,caption,suitable\nphoto-01.png,a map,0\nphoto-02.png,a road,1\n")
    names = [r.path.name for r in list_photos(photos[0], captions)]
    assert "photo-01.png" not in names
    assert len(names) == PHOTOS - 3  # one unsuitable, two held out
    captions.write_text("name,caption\nphoto-01.png,a map\n")
    with pytest.raises(UsageError, match="no column file"):
        list_photos(photos[0], captions)


def test_photos_of_one_name_in_two_folders_keep_their_own_captions(tmp_path: Path) -> None:
    for place in ("cam1", "cam2"):
        (tmp_path / "photos" / place).mkdir(parents=True)
        for number in range(3):
            draw_photo(number).save(tmp_path / "photos" / place / f"{number}.png")
    captions = tmp_path / "captions.csv"
    rows = ["cam1/1.png,a road,1", "cam2/1.png,a lake,", "cam1/2.png,a field,", "cam2/2.png,a map,0"]
    captions.write_text("\n".join(["file,caption,suitable", *rows]))
    found = {r.path.relative_to(tmp_path): r.caption for r in list_photos(tmp_path / "photos", captions)}
    assert found == {
        Path("photos/cam1/1.png"): "a road",
        Path("photos/cam1/2.png"): "a field",  # an empty cell says nothing against it
        Path("photos/cam2/0.png"): "",
        Path("photos/cam2/1.png"): "a lake",
    }
    captions.write_text(captions.read_text().replace("cam", "photos/cam"))
    again = {r.path.relative_to(tmp_path): r.caption for r in list_photos(tmp_path / "photos", captions)}
    assert again == found
    captions.write_text("file,caption\n1.png,a barn\n")  # names no folder
    bare = [r.caption for r in list_photos(tmp_path / "photos", captions) if r.path.name == "1.png"]
    assert bare == ["a barn", "a barn"]


def test_a_crop_is_cut_inside_the_border(tmp_path: Path) -> None:
    image = draw_photo(3, (100, 90))
    framed = Image.new("RGB", (120, 110), (255, 0, 255))
    framed.paste(image, (10, 10))
    framed.save(tmp_path / "photo-01.png")
    draw_photo(0).save(tmp_path / "photo-00.png")  # held out
    (record,) = list_photos(tmp_path, border=10)
    crop = read_crop(record, 32, np.random.default_rng(0))
    assert crop.shape == (3, 32, 32)
    magenta = torch.tensor([1.0, 0.0, 1.0])[:, None, None]
    assert (crop - magenta).abs().amax(0).min() > 0.1


# ------------------------------------------------------------------ pairs


def test_a_simulated_pair_depends_on_seed_and_number_alone(photos: tuple[Path, Path]) -> None:
    source = SimulatedPairs(list_photos(*photos), 32)
    first, again, other = source.pair(5, 8), source.pair(5, 8), source.pair(6, 8)
    assert first["degradation"] == 8 % 6
    assert torch.equal(first["clean"], again["clean"])
    assert torch.equal(first["degraded"], again["degraded"])
    assert (first["mu"], first["sigma"]) == (again["mu"], again["sigma"])
    assert not torch.equal(first["degraded"], other["degraded"])


def write_pairs(folder: Path, sizes: list[tuple[int, int]]) -> None:
    """Degraded photos are half as bright: pixel by pixel the same place."""
    for part in ("lq", "gt"):
        (folder / part).mkdir(parents=True)
    for number, size in enumerate(sizes):
        image = draw_photo(number, size)
        image.save(folder / "gt" / f"{number}.png")
        image.point([v // 2 for v in range(256)] * 3).save(folder / "lq" / f"{number}.png")


def test_folder_pairs_stay_aligned(tmp_path: Path) -> None:
    write_pairs(tmp_path, [(80, 64), (50, 70)])
    source = StoredPairs(pairs_in(tmp_path, degradation=Degradation.LOW_LIGHT), 32)
    for k in range(8):
        pair = source.pair(0, k)
        assert pair["clean"].shape == pair["degraded"].shape == (3, 32, 32)
        assert torch.equal(pair["degraded"], pair["clean"] // 2)
        assert pair["degradation"] == list(Degradation).index(Degradation.LOW_LIGHT)
        assert pair["mu"] == pytest.approx(pair["clean"].double().mean().item() / 510, abs=0.01)


def test_small_pairs_are_enlarged_together(tmp_path: Path) -> None:
    write_pairs(tmp_path, [(20, 24)])
    pair = StoredPairs(pairs_in(tmp_path, degradation=Degradation.LOW_LIGHT), 32).pair(0, 0)
    assert pair["clean"].shape == (3, 32, 32)
    assert (pair["degraded"].double() - pair["clean"].double() / 2).abs().mean() < 2


def test_small_pairs_can_be_enlarged_less_than_large_ones_are_cut(tmp_path: Path) -> None:
    write_pairs(tmp_path, [(80, 64), (50, 44), (20, 24)])
    reader = pairs_in(tmp_path, degradation=Degradation.LOW_LIGHT)
    source, whole = (StoredPairs(reader, 48, balanced=True, smallest=side) for side in (32, None))
    pairs = {int(source._turn(0, k)): source.pair(0, k) for k in range(3)}
    assert [pairs[number]["clean"].shape[1:] for number in range(3)] == [(48, 48), (44, 44), (32, 32)]
    clean = torch.from_numpy(reader.entry(1).images()[0].copy()).permute(2, 0, 1)
    found = [torch.equal(pairs[1]["clean"], part) for x in range(7) for part in _both(clean[..., x : x + 44])]
    assert any(found), "pixel for pixel, not enlarged"
    for k in range(3):
        if source._turn(0, k) == 0:  # large pairs are cut as ever
            assert torch.equal(source.pair(0, k)["clean"], whole.pair(0, k)["clean"])


def _both(image: torch.Tensor) -> list[torch.Tensor]:
    return [image, image.flip(-1)]


def test_a_pair_without_partner_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path, [(40, 40)])
    draw_photo(5).save(tmp_path / "lq" / "alone.png")
    with pytest.raises(UsageError, match=r"alone\.png has no partner in gt"):
        pair_source(RunOptions(pairs=(f"rain={tmp_path}",)))
    with pytest.raises(UsageError, match="none does not exist"):
        pair_source(RunOptions(pairs=(f"rain={tmp_path / 'none'}",)))


def test_sources_are_mixed_by_weight() -> None:
    one, three = NoisePairs(), NoisePairs()
    mixed = MixedPairs([one, three], [1, 3])
    for k in range(800):
        mixed.pair(0, k)
    assert len(three.asked) / 800 == pytest.approx(0.75, abs=0.05)
    assert sorted(one.asked + three.asked) == list(range(800))


def test_pairs_are_named_on_the_command_line(photos: tuple[Path, Path], tmp_path: Path) -> None:
    assert parse_pairs("haze=a/b") == (Degradation.HAZE, Path("a/b"), 1.0)
    assert parse_pairs("motion_blur=a=0.5") == (Degradation.MOTION_BLUR, Path("a"), 0.5)
    assert parse_pairs("runs/made") == (None, Path("runs/made"), 1.0)
    assert parse_pairs("runs/made=3") == (None, Path("runs/made"), 3.0)
    for wrong, reason in (
        ("haze=", "is not PATH"),
        ("haze=a=1=2", "is not PATH"),
        ("fog=a", "'fog' none of haze"),
        ("haze=a=much", "'much' is no weight"),
        ("haze=a=-1", "from 0 up"),
    ):
        with pytest.raises(UsageError, match=reason):
            parse_pairs(wrong)
    write_pairs(tmp_path, [(40, 40)])
    options = RunOptions(photos=photos[0], pairs=(f"haze={tmp_path}=2",), size=32, simulated_weight=6)
    source = pair_source(options)
    assert isinstance(source, MixedPairs)
    assert list(source.weights) == [6, 2]


def test_an_option_that_is_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: str) -> RunOptions:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        return configuration({"tiny": RunOptions}, "")

    assert asked("--preset", "tiny", "--pairs", "a", "rain=b", "--seed", "1").pairs == ("a", "rain=b")
    for again in (("--pairs", "b"), ("--pairs=b",)):
        with pytest.raises(UsageError, match="--pairs is given twice; give it once"):
            asked("--pairs", "a", *again)
    with pytest.raises(UsageError, match="--log-every is given twice"):
        asked("--log-every", "2", "--log_every", "3")


# ------------------------------------------------------------------ processes


def numbers_seen(processes: int, batch: int, first: int = 0) -> list[list[int]]:
    """Pair numbers of each optimiser step, of all processes together."""
    steps: dict[int, list[int]] = {}
    options = RunOptions(steps=5, batch=batch, gradient_accumulation=2, workers=0)
    for process in range(processes):
        source = NoisePairs(4)
        accelerator = SimpleNamespace(process_index=process, num_processes=processes)
        for number, micro in enumerate(batches(options, source, accelerator, first)):  # pyright: ignore[reportArgumentType]
            assert len(micro["clean"]) == batch
            asked = [round(1000 * mu) for mu in micro["mu"].tolist()]
            steps.setdefault(first + number // 2, []).extend(asked)
    return [sorted(steps[step]) for step in sorted(steps)]


def test_processes_together_see_what_one_would() -> None:
    alone, together = numbers_seen(1, 4), numbers_seen(2, 2)
    assert alone == together
    assert sum(alone, []) == list(range(5 * 8))


def test_a_resumed_run_sees_the_remaining_pairs() -> None:
    assert numbers_seen(2, 2, first=3) == numbers_seen(2, 2)[3:]


# ------------------------------------------------------------------ pool


def test_the_pool_holds_the_pairs_of_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CHUNK", 4)
    source = NoisePairs()
    pool = PairPool(source, 7, 10, tmp_path)
    entries = []
    for k in range(20):
        chunk, place, flipped = pool.place(3, k)
        entries.append(4 * chunk + place)
        expected, pair = source.pair(7, entries[-1]), pool.pair(3, k)
        for name in ("clean", "degraded"):
            assert torch.equal(pair[name], expected[name].flip(-1) if flipped else expected[name])
        assert {n: pair[n] for n in ("mu", "caption")} == {n: expected[n] for n in ("mu", "caption")}
    assert sorted(entries[:10]) == sorted(entries[10:]) == list(range(10))
    assert entries[:10] != entries[10:]


def test_a_pool_survives_being_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import time; from pathlib import Path; from tests.train.drawn import NoisePairs; "
        "from train.common import pool; pool.CHUNK = 4; make = pool._make; "
        "pool._make = lambda job: (make(job), time.sleep(0.1)); "
        f"pool.PairPool(NoisePairs(), 7, 400, Path({str(tmp_path)!r}))"
    )
    start_and_kill([sys.executable, "-c", script], tmp_path / "pairs-00000004.npy", longest_wait=0.3)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("pairs-*0.npy")}
    assert kept
    monkeypatch.setattr(pools, "CHUNK", 4)
    source = NoisePairs()
    pool = PairPool(source, 7, 400, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert 0 < len(source.asked) < 400 - 4
    untouched = PairPool(NoisePairs(), 7, 400, tmp_path / "another")
    for k in range(0, 400, 7):
        left, right = pool.pair(0, k), untouched.pair(0, k)
        assert torch.equal(left["degraded"], right["degraded"])
        assert left["caption"] == right["caption"]


def small_vae() -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4,
    ).eval()  # fmt: skip


def test_cached_latents_are_those_of_the_vae(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CHUNK", 4)
    pool, vae, accelerator = PairPool(NoisePairs(), 7, 10, tmp_path), small_vae(), Accelerator(cpu=True)
    cached = LatentPool(pool, vae, tmp_path, accelerator)
    assert len({pool.place(0, k)[2] for k in range(10)}) == 2  # flipped ones are among them
    with torch.no_grad():
        mode, posterior = encode_pairs(vae, as_batch(cached, 0, 10), accelerator.device)
        plain_mode, plain = encode_pairs(vae, as_batch(pool, 0, 10), accelerator.device)
    torch.testing.assert_close(mode, plain_mode)
    torch.testing.assert_close(posterior.mean, plain.mean)
    draws = [p.sample(torch.Generator().manual_seed(1)) for p in (posterior, plain)]
    torch.testing.assert_close(*draws)


def test_cached_latents_are_resumed_and_belong_to_one_vae(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CHUNK", 4)
    pool, accelerator = PairPool(NoisePairs(), 7, 10, tmp_path), Accelerator(cpu=True)
    LatentPool(pool, small_vae(), tmp_path, accelerator)
    (folder,) = tmp_path.glob("latents-*")
    (folder / "00001.npy").unlink()
    kept = (folder / "00000.npy").stat().st_mtime_ns
    LatentPool(pool, small_vae(), tmp_path, accelerator)
    assert (folder / "00000.npy").stat().st_mtime_ns == kept
    assert (folder / "00001.npy").exists()
    other = small_vae()
    other.encoder.conv_in.weight.data += 0.1
    LatentPool(pool, other, tmp_path, accelerator)
    assert len(list(tmp_path.glob("latents-*"))) == 2


# ------------------------------------------------------------------ emphasis


def test_an_emphasised_degradation_is_simulated_more_often(photos: tuple[Path, Path]) -> None:
    turns = parse_emphasis(["raindrop=5", "haze=0"])
    source = SimulatedPairs(list_photos(*photos), 32, turns)
    kinds = [list(Degradation)[source.pair(0, k)["degradation"]] for k in range(18)]
    assert {kind: kinds.count(kind) for kind in Degradation} == {
        **dict.fromkeys(Degradation, 2),
        Degradation.RAINDROP: 10,
        Degradation.HAZE: 0,
    }


@pytest.mark.parametrize("option", ["fog=2", "haze", "haze=-1", "haze=1.5"])
def test_an_emphasis_that_means_nothing_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="is not DEGRADATION=TIMES"):
        parse_emphasis([option])


def test_an_emphasis_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves no degradation"):
        parse_emphasis([f"{kind}=0" for kind in Degradation])
