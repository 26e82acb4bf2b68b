"""The published checkpoints open here: official numbers come out, and wrong files are refused."""

from __future__ import annotations

import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from gendeg_core.generate import published
from gendeg_core.generate.pipeline import GenDegPipeline
from gendeg_core.generate.published_sizes import (
    PUBLISHED,
    PublishedSizes,
    paper_unet_config,
    scheduler_config,
    text_config,
    vae_config,
)
from gendeg_core.types import Degradation, DegradationRequest
from tests import golden

VOCABULARY = 40
SMALL = PublishedSizes(
    unet_width=64,
    unet_levels=(1, 2, 2),
    unet_heads=4,
    sample_size=8,
    vae_width=64,
    vae_levels=(1, 2, 2),
    text_width=16,
    text_layers=2,
    text_heads=2,
    text_vocabulary=VOCABULARY,
    structure_width=8,
    structure_encoder=(1, 1),
    structure_middle=1,
    structure_decoder=(1, 1),
)
TEXT = "cond_stage_model.transformer.text_model."
RAW, EMA = "model.diffusion_model.out.2.bias", "model_ema.diffusion_modelout2bias"


def text_state() -> dict[str, torch.Tensor]:
    """A CLIP text model under the names of the transformers version the checkpoint was written with."""
    shapes = {
        "embeddings.token_embedding.weight": (VOCABULARY, 16),
        "embeddings.position_embedding.weight": (77, 16),
        "final_layer_norm.weight": (16,),
        "final_layer_norm.bias": (16,),
    }
    for layer in range(SMALL.text_layers):
        block = {f"self_attn.{name}_proj": (16, 16) for name in ("q", "k", "v", "out")}
        block |= {"mlp.fc1": (64, 16), "mlp.fc2": (16, 64), "layer_norm1": (16,), "layer_norm2": (16,)}
        for name, shape in block.items():
            shapes[f"encoder.layers.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layers.{layer}.{name}.bias"] = shape[:1]
    generator = torch.Generator().manual_seed(3)
    return {TEXT + key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}


def official_checkpoint() -> dict[str, torch.Tensor]:
    """A whole generator checkpoint in the official layout, made small."""
    alphas_cumprod = torch.cumprod(
        1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2, 0
    ).float()
    return {
        **golden.official_state("ldm_unet"),
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.num_updates": torch.tensor(1000, dtype=torch.int32),
        **golden.official_state("ldm_vae"),
        **golden.official_state("intensity"),
        **text_state(),
        TEXT + "embeddings.position_ids": torch.arange(77)[None],
        "alphas_cumprod": alphas_cumprod,
        "sqrt_alphas_cumprod": alphas_cumprod.sqrt(),
        "posterior_mean_coef1": alphas_cumprod.square(),
    }


@dataclass(frozen=True)
class Files:
    folder: Path

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def structure(self) -> Path:
        return self.folder / "nafnet_sd.ckpt"


@pytest.fixture(scope="module")
def files():
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which keeps a hundred megabytes for days
        yield make_files(Path(folder))


def make_files(folder: Path) -> Files:
    files = Files(folder)
    letters = [*"abcdefghijklmnopqrs", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrs")]
    words = {word: index for index, word in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    CLIPTokenizer(vocab=words, merges=[]).save_pretrained(files.tokenizer)
    torch.save({"state_dict": golden.official_state("structure")}, files.structure)
    return files


@pytest.fixture(scope="module")
def pipeline(files):
    """Official layout, converted to a folder, opened again as any user would."""
    checkpoint = files.folder / "gendeg.ckpt"
    torch.save({"state_dict": official_checkpoint(), "global_step": 1000, "epoch": 3}, checkpoint)
    output = files.folder / "converted"
    returned = published.convert(checkpoint, files.structure, output, tokenizer=files.tokenizer, sizes=SMALL)
    assert returned == output
    assert {p.suffix for p in output.rglob("*.*")} <= {".json", ".safetensors", ".txt"}  # no pickles
    assert not list(files.folder.glob(".converted*"))
    return GenDegPipeline.from_pretrained(output)


@pytest.fixture
def write(tmp_path):
    """Write a changed official checkpoint: values replace or add tensors, None removes one.

    Weights are all ones, stored once, which keeps the files small.
    """

    def write(changes: dict[str, torch.Tensor | None]) -> Path:
        official = official_checkpoint()
        tensors = {key: torch.ones(()).expand(value.shape) for key, value in official.items()}
        tensors |= {"alphas_cumprod": official["alphas_cumprod"], **changes}
        path = tmp_path / "changed.ckpt"
        torch.save({"state_dict": {key: v for key, v in tensors.items() if v is not None}}, path)
        return path

    return write


class TestConverted:
    @torch.no_grad()
    def test_unet_carries_the_moving_average(self, pipeline):
        numbers = golden.load("ldm_unet")
        latents = torch.cat([numbers["in/noisy_latent"], numbers["in/clean_latent"]], dim=1)
        predicted = pipeline.unet(latents, numbers["in/timestep"], numbers["in/context"]).sample
        golden.assert_close(predicted, numbers["out/eps_ema"], 5e-5)

    @torch.no_grad()
    def test_autoencoder(self, pipeline):
        numbers = golden.load("ldm_vae")
        posterior = pipeline.vae.encode(numbers["in/image"]).latent_dist
        golden.assert_close(posterior.parameters, numbers["out/moments"], 1e-5)
        golden.assert_close(posterior.mode(), numbers["out/mode"], 1e-5)
        golden.assert_close(posterior.std, numbers["out/std"], 1e-5)
        golden.assert_close(pipeline.vae.decode(numbers["in/latent"]).sample, numbers["out/decoded"], 1e-5)
        golden.assert_close(pipeline.vae.decode(posterior.mode()).sample, numbers["out/decoded_mode"], 1e-5)
        assert pipeline.vae.config.scaling_factor == 0.18215

    @torch.no_grad()
    def test_projections_are_the_raw_ones(self, pipeline):
        numbers = golden.load("intensity")
        stats = torch.nn.functional.one_hot(numbers["in/stats_index"], 129).float()
        context = pipeline.intensity(numbers["in/text_embedding"], stats)
        golden.assert_close(context, numbers["out/context_full"], 1e-5)
        assert not pipeline.intensity.config.interpolate

    @torch.no_grad()
    def test_structure_correction(self, pipeline):
        numbers = golden.load("structure")
        corrected = pipeline.structure(numbers["in/clean"], numbers["in/generated"])
        golden.assert_close(corrected, numbers["out/image"], 1e-5)

    def test_text_encoder_has_every_official_tensor(self, pipeline):
        stored = {key.removeprefix("text_model."): v for key, v in pipeline.text_encoder.state_dict().items()}
        expected = {key.removeprefix(TEXT): value for key, value in text_state().items()}
        assert stored.keys() == expected.keys()
        assert all(torch.equal(stored[key], expected[key]) for key in expected)
        assert pipeline.text_encoder.config.hidden_act == "quick_gelu"

    def test_prompts_reach_the_text_encoder(self, pipeline):
        tokens = pipeline.tokenizer(["a b", ""], padding="max_length", return_tensors="pt").input_ids
        assert tokens.shape == (2, 77)
        assert tokens[0, :4].tolist() == [38, 19, 20, 39]
        assert tokens[1, :2].tolist() == [38, 39]
        with torch.no_grad():
            assert pipeline.text_encoder(tokens).last_hidden_state.isfinite().all()

    def test_official_sampler(self, pipeline):
        assert isinstance(pipeline.scheduler, EulerAncestralDiscreteScheduler)
        assert {key: pipeline.scheduler.config[key] for key in scheduler_config()} == scheduler_config()
        pipeline.scheduler.set_timesteps(100)
        assert pipeline.scheduler.sigmas[0].item() == pytest.approx(14.6146, abs=1e-3)
        assert pipeline.scheduler.sigmas[-2].item() == pytest.approx(0.0292, abs=1e-4)

    @pytest.mark.parametrize("degradation", ["haze", "snow"])
    def test_a_photo_runs_through(self, pipeline, degradation):
        runner = GenDegPipeline(**pipeline.components, base_size=32, least_size=32)
        photo = torch.rand(3, 40, 52, generator=torch.Generator().manual_seed(0))
        request = DegradationRequest(Degradation(degradation), mu=0.1, sigma=0.1, seed=1, caption="a road")
        *_, (result,) = runner.iterate([photo], [request], num_inference_steps=2)
        assert result.degraded.shape == photo.shape
        assert result.degraded.isfinite().all()
        # Haze keeps the photo as its target, snow takes the photo's round trip through the autoencoder.
        assert torch.equal(result.target, photo) == (degradation == "haze")


@torch.no_grad()
def test_raw_weights_are_found_by_the_same_key_map():
    network = UNet2DConditionModel(**published.unet_config(SMALL))
    source = published._Source(Path("raw"), golden.official_state("ldm_unet"))
    source.fill(network, published.keys.unet_key)
    assert not source.missing
    numbers = golden.load("ldm_unet")
    latents = torch.cat([numbers["in/noisy_latent"], numbers["in/clean_latent"]], dim=1)
    predicted = network(latents, numbers["in/timestep"], numbers["in/context"]).sample
    golden.assert_close(predicted, numbers["out/eps_raw"], 5e-5)
    assert (numbers["out/eps_raw"] - numbers["out/eps_ema"]).abs().max() > 0.1


def test_safetensors_are_read_as_well(tmp_path):
    save_file(golden.official_state("structure"), tmp_path / "nafnet.safetensors")
    network = published.load_structure(tmp_path / "nafnet.safetensors", sizes=SMALL)
    for key, value in golden.official_state("structure").items():
        assert torch.equal(network.state_dict()[key], value)


def test_every_parameter_has_an_official_name_of_its_own():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**paper_unet_config())
        vae = AutoencoderKL(**vae_config())
    names = [published.keys.unet_key(key) for key in unet.state_dict()]
    assert len(set(names)) == len(names) == 686
    assert len({published.keys.ema_key(name) for name in names}) == 686
    assert {
        "model.diffusion_model.input_blocks.0.0.weight",
        "model.diffusion_model.input_blocks.3.0.op.weight",
        "model.diffusion_model.input_blocks.11.0.out_layers.3.bias",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.output_blocks.2.1.conv.weight",
        "model.diffusion_model.output_blocks.8.2.conv.weight",
        "model.diffusion_model.output_blocks.11.1.proj_out.bias",
    } <= set(names)
    names = [published.keys.vae_key(key, levels=4) for key in vae.state_dict()]
    assert len(set(names)) == len(names) == 248
    assert "first_stage_model.decoder.up.3.upsample.conv.weight" in names
    assert "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight" in names


def test_published_sizes():
    with torch.device("meta"):
        networks = {
            "unet": UNet2DConditionModel(**paper_unet_config()),
            "vae": AutoencoderKL(**vae_config()),
            "text": CLIPTextModel(CLIPTextConfig(**text_config())),
        }
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert counts == {"unet": 859_532_484, "vae": 83_653_863, "text": 123_060_480}
    unet = networks["unet"]
    assert unet.conv_in.weight.shape == (320, 8, 3, 3)
    heads = {block.attentions[0].transformer_blocks[0].attn2.heads for block in unet.down_blocks[:3]}
    assert heads == {8}
    assert not hasattr(unet.down_blocks[3], "attentions")
    assert PUBLISHED.text_tokens == 77


class TestRefused:
    def refuse(self, path, match):
        with pytest.raises(ValueError, match=match) as caught:
            published.load_components(path, None, sizes=SMALL)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        "key",
        [
            RAW,
            EMA,
            "first_stage_model.post_quant_conv.bias",
            TEXT + "encoder.layers.1.mlp.fc2.bias",
            "stats_proj.bias",
        ],
    )
    def test_missing_key(self, write, key):
        self.refuse(write({key: None}), f"keys 1 missing: {key}$")

    @pytest.mark.parametrize(
        "key",
        ["extra.weight", "first_stage_model.loss.logvar", "model_ema.diffusion_modelextra", TEXT + "extra"],
    )
    def test_unexpected_key(self, write, key):
        self.refuse(write({key: torch.zeros(2)}), f"keys 1 unexpected: {key}$")

    def test_no_projections(self, write):
        names = golden.official_state("intensity")
        self.refuse(write(dict.fromkeys(names)), "4 missing: stats_proj.weight.*cc_projection")

    def test_no_moving_average(self, write):
        averages = [key for key in golden.official_state("ldm_unet") if key.startswith("model_ema.")]
        self.refuse(write(dict.fromkeys(averages)), "494 missing: model_ema.* and 489 more")

    def test_another_shape(self, write):
        change = {"cc_projection.weight": torch.zeros(16, 17)}
        self.refuse(write(change), r"cc_projection.weight is \[16, 17\] instead of \[16, 18\]")

    def test_several_faults_are_told_at_once(self, write):
        path = write({RAW: None, "extra.weight": torch.zeros(2)})
        self.refuse(path, f"1 missing: {RAW}; 1 unexpected: extra.weight")

    def test_another_noise_schedule(self, write):
        self.refuse(write({"alphas_cumprod": torch.linspace(1, 0, 1000)}), "another noise schedule")

    def test_structure_in_place_of_generator(self, files):
        self.refuse(files.structure, "missing.*unexpected")

    def test_swapped_files_are_told_apart(self, write):
        with pytest.raises(ValueError, match="missing: intro.weight"):
            published.load_structure(write({}), sizes=SMALL)

    def test_a_pickle_that_would_run_code_is_not_opened(self, tmp_path):
        witness = tmp_path / "witness"
        for name, save in (("new.ckpt", torch.save), ("old.ckpt", self.save_plain_pickle)):
            save(
                {"state_dict": {"intro.weight": torch.zeros(1)}, "callbacks": Touch(witness)}, tmp_path / name
            )
            self.refuse(tmp_path / name, "Python objects")
        assert not witness.exists()

    @staticmethod
    def save_plain_pickle(content, path):
        path.write_bytes(pickle.dumps(content))

    @pytest.mark.parametrize("name", ["noise.ckpt", "noise.safetensors", "empty.ckpt", "cut.ckpt"])
    def test_no_checkpoint_at_all(self, tmp_path, files, name):
        whole = files.structure.read_bytes()
        content = {"noise": bytes(range(256)) * 9, "empty": b"", "cut": whole[: len(whole) // 2]}
        (tmp_path / name).write_bytes(content[name.split(".")[0]])
        self.refuse(tmp_path / name, "checkpoint")

    def test_no_tensors_inside(self, tmp_path):
        torch.save({"state_dict": {"epoch": 3}}, tmp_path / "numbers.ckpt")
        self.refuse(tmp_path / "numbers.ckpt", "no state_dict made of tensors")

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            published.load_components(tmp_path / "none.ckpt", None, sizes=SMALL)


class TestFolders:
    def test_a_folder_in_use_is_left_alone(self, files, tmp_path):
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(FileExistsError, match="not an empty folder"):
            published.convert(
                files.structure, files.structure, tmp_path, tokenizer=files.tokenizer, sizes=SMALL
            )
        assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_refused_checkpoint_leaves_nothing_behind(self, write, files, tmp_path):
        output = tmp_path / "out" / "converted"
        with pytest.raises(ValueError, match="missing"):
            published.convert(write({RAW: None}), None, output, tokenizer=files.tokenizer, sizes=SMALL)
        assert not output.parent.exists()

    @torch.no_grad()
    def test_without_structure_into_an_empty_folder(self, write, files, tmp_path):
        output = tmp_path / "empty"
        output.mkdir()
        published.convert(write({}), None, output, tokenizer=files.tokenizer, sizes=SMALL)
        assert GenDegPipeline.from_pretrained(output).structure is None


class TestTokenizer:
    def test_without_a_network_says_what_to_pass(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(OSError, match="pass a tokenizer folder with the vocab.json and merges.txt"):
            published.load_tokenizer(None)

    def test_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="not a folder"):
            published.load_tokenizer(tmp_path / "none")

    def test_a_folder_without_a_vocabulary(self, tmp_path):
        with pytest.raises(OSError, match=f"could not be loaded from {tmp_path}; pass a tokenizer folder"):
            published.load_tokenizer(tmp_path)

    def test_another_vocabulary(self, files):
        with pytest.raises(ValueError, match="knows 40 tokens, the text encoder 49408"):
            published.load_tokenizer(files.tokenizer)


class Touch:
    """Unpickling this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
