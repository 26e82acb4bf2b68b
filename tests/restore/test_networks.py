"""The networks against the official numbers, with the published keys and counts, at any size."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from gendeg_core.restore.nafnet import NAFNet
from gendeg_core.restore.promptir import PromptIR
from gendeg_core.restore.swin import SwinRestorer
from gendeg_core.restore.zoo import CONFIGS, MODELS, build
from tests import golden
from tests.restore.tiny import randomised

GOLDEN_NAFNET = {"width": 8, "encoder_blocks": (1, 1), "middle_blocks": 1, "decoder_blocks": (1, 1)}
# Spec of the published checkpoints: 28 to 36 blocks make 664 tensors in each of the layouts.
PUBLISHED_NAFNETS = {
    "SIDD-width32": 29.16,
    "SIDD-width64": 115.98,
    "GoPro-width32": 17.11,
    "GoPro-width64": 67.89,
    "REDS-width64": 67.89,
    "paper": 115.98,
}


def on_meta(model, size):
    with torch.device("meta"):
        return build(model, size)


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def block_shapes(c):
    """One NAFNet block, from the specification."""
    shapes = {"beta": (1, c, 1, 1), "gamma": (1, c, 1, 1)}
    convolutions = {
        "conv1": (2 * c, c, 1, 1),
        "conv2": (2 * c, 1, 3, 3),
        "conv3": (c, c, 1, 1),
        "sca.1": (c, c, 1, 1),
        "conv4": (2 * c, c, 1, 1),
        "conv5": (c, c, 1, 1),
        "norm1": (c,),
        "norm2": (c,),
    }
    for name, shape in convolutions.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def nafnet_shapes(width, encoder, middle, decoder):
    """Every key of a published NAFNet, from the specification."""
    shapes = {"intro.weight": (width, 3, 3, 3), "intro.bias": (width,)}
    shapes |= {"ending.weight": (3, width, 3, 3), "ending.bias": (3,)}
    stages = {"middle_blks": (width * 16, middle)}
    for level, blocks in enumerate(encoder):
        c = width * 2**level
        stages[f"encoders.{level}"] = (c, blocks)
        shapes |= {f"downs.{level}.weight": (2 * c, c, 2, 2), f"downs.{level}.bias": (2 * c,)}
    for level, blocks in enumerate(decoder):
        c = width * 2 ** (3 - level)
        stages[f"decoders.{level}"] = (c, blocks)
        shapes[f"ups.{level}.0.weight"] = (4 * c, 2 * c, 1, 1)
    for stage, (c, blocks) in stages.items():
        for index in range(blocks):
            shapes |= {f"{stage}.{index}.{name}": shape for name, shape in block_shapes(c).items()}
    return shapes


class TestNAFNet:
    @torch.no_grad()
    @pytest.mark.parametrize(("image", "out"), [("image", "global"), ("image_big", "global_big")])
    def test_official_numbers(self, image, out):
        net, numbers = NAFNet(**GOLDEN_NAFNET), golden.load("nafnet")
        net.load_state_dict(golden.official_state("nafnet"))
        golden.assert_close(net(numbers[f"in/{image}"]), numbers[f"out/{out}"], 1e-5)

    @pytest.mark.parametrize(("size", "millions"), PUBLISHED_NAFNETS.items())
    def test_published_counts(self, size, millions):
        net = on_meta("nafnet", size)
        assert round(count(net) / 1e6, 2) == millions
        assert len(net.state_dict()) == 664

    @pytest.mark.parametrize("size", ["SIDD-width64", "GoPro-width32"])
    def test_published_keys_and_shapes(self, size):
        sizes = {"SIDD-width64": (64, (2, 2, 4, 8), 12, (2, 2, 2, 2))}
        sizes["GoPro-width32"] = (32, (1, 1, 1, 28), 1, (1, 1, 1, 1))
        state = on_meta("nafnet", size).state_dict()
        assert {key: tuple(value.shape) for key, value in state.items()} == nafnet_shapes(*sizes[size])

    def test_multiplications_of_the_published_network(self):
        from torch.utils.flop_counter import FlopCounterMode

        net = on_meta("nafnet", "SIDD-width32").requires_grad_(requires_grad=False)
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 256, 256, device="meta"))
        assert counter.get_total_flops() / 2e9 == pytest.approx(16.05, abs=0.05)


class TestPromptIR:
    @torch.no_grad()
    @pytest.mark.parametrize(
        ("name", "config"),
        [("promptir", {"blocks": (1, 1, 1, 1), "refinement_blocks": 1}), ("promptir_full", {})],
    )
    def test_official_numbers(self, name, config):
        with torch.device("meta"):
            net = PromptIR(**config)
        net.load_state_dict(golden.official_state(name), assign=True)
        numbers = golden.load(name)
        golden.assert_close(net(numbers["in/image"]), numbers["out/image"], 1e-5)

    def test_published_keys_shapes_and_count(self):
        with safe_open(golden.HERE / "promptir.safetensors", "pt") as file:
            published = json.loads(file.metadata()["config"])["published_layout"]
        net = on_meta("promptir", "paper")
        assert {key: list(value.shape) for key, value in net.state_dict().items()} == published
        assert len(published) == 548
        assert count(net) == 35_592_263

    def test_only_the_unused_layers_get_no_gradient(self):
        net = PromptIR(
            width=8,
            blocks=(1, 1, 1, 1),
            refinement_blocks=1,
            heads=(1, 1, 2, 2),
            prompt_channels=(8, 8, 8),
            prompt_sizes=(8, 8, 8),
        )
        net(noise(1, 3, 16, 24)).square().sum().backward()
        idle = {name for name, parameter in net.named_parameters() if parameter.grad is None}
        levels = (1, 2, 3)
        assert idle == {f"chnl_reduce{k}.weight" for k in levels} | {
            f"reduce_noise_channel_{k}.weight" for k in levels
        }

    def test_heads_that_do_not_divide_are_refused(self):
        with pytest.raises(ValueError, match="3 heads do not divide 4 channels"):
            PromptIR(width=4, heads=(3, 1, 1, 1))


class TestSwin:
    def test_published_encoder_and_decoder(self):
        net = on_meta("swin", "paper")
        assert net.encoder.feature_info.channels() == [128, 256, 512, 1024]  # Swin-B
        assert net.encoder.feature_info.reduction() == [4, 8, 16, 32]
        # Swin-B without its classifier (87.77 M with it) and without the last norm.
        assert count(net.encoder) == 87_768_224 - (1024 * 1000 + 1000) - 2 * 1024
        kinds = [[type(layer).__name__ for layer in block] for block in net.decoder]
        assert kinds == 5 * [["Conv2d", "ReLU", "ConvTranspose2d", "ReLU"]]
        inputs = [block[0].in_channels for block in net.decoder]
        assert inputs == [1024, 512 + 512, 256 + 256, 128 + 128, 64]
        assert net.config["residual"] is False

    @torch.no_grad()
    def test_no_window_reaches_beyond_the_photo_but_into_its_mirror(self):
        net = randomised(build("swin", "tiny")).eval()
        assert net.grid == 128
        image = noise(1, 3, 150, 200)
        mirrored = torch.nn.functional.pad(image, (0, 56, 0, 106), mode="reflect")  # to two windows each way
        torch.testing.assert_close(net(image), net(mirrored)[..., :150, :200])
        small = noise(1, 3, 96, 200)
        assert torch.isfinite(net(small)).all()
        net.train()
        assert (net(image) - net(mirrored)[..., :150, :200]).abs().max() > 1e-4

    @torch.no_grad()
    def test_every_skip_reaches_the_output(self):
        net = randomised(build("swin", "tiny")).eval()
        image = noise(1, 3, 64, 64)
        whole = net(image)
        for block, stage in ((1, 2), (2, 1), (3, 0)):  # 1/16, 1/8, 1/4
            weight = net.decoder[block][0].weight
            kept = weight.clone()
            weight[:, -net.encoder.feature_info.channels()[stage] :] = 0
            assert (net(image) - whole).abs().max() > 1e-4
            weight.copy_(kept)

    @torch.no_grad()
    def test_input_is_normalised_as_for_imagenet(self):
        net, seen = build("swin", "tiny").eval(), []
        net.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        net(torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32))
        assert seen[0].abs().max() < 1e-6
        net(torch.ones(1, 3, 32, 32))
        torch.testing.assert_close(
            seen[1][0, :, 0, 0], torch.tensor([2.2489, 2.4286, 2.64]), atol=1e-4, rtol=0
        )

    @torch.no_grad()
    def test_without_residual_the_image_itself_comes_out(self):
        config = CONFIGS["swin"]["tiny"] | {"residual": False}
        net = SwinRestorer(**config).eval()
        torch.nn.init.zeros_(net.output.weight)
        torch.nn.init.constant_(net.output.bias, 0.25)
        assert torch.equal(net(noise(1, 3, 40, 33)), torch.full((1, 3, 40, 33), 0.25))

    @torch.no_grad()
    def test_with_residual_the_image_gets_a_gain_and_an_offset(self):
        net, image = build("swin", "tiny").eval(), noise(1, 3, 40, 33)
        assert torch.equal(net(image), image)
        net.output.bias.copy_(torch.tensor([0.5, 0, 0, 0, 0.1, 0]))
        changed = torch.stack([1.5 * image[0, 0], image[0, 1] + 0.1, image[0, 2]])
        torch.testing.assert_close(net(image)[0], changed)

    @torch.no_grad()
    def test_refinement_has_no_effect_until_it_is_trained_and_then_sees_single_pixels(self):
        torch.manual_seed(0)
        net, image = SwinRestorer(**CONFIGS["swin"]["tiny"]).eval(), noise(1, 3, 64, 64)
        torch.manual_seed(0)
        without = SwinRestorer(**CONFIGS["swin"]["tiny"] | {"refinement_channels": 0}).eval()
        assert torch.equal(net(image), without(image))
        for parameter in [*net.output.parameters(), *net.decoder.parameters()]:
            parameter.zero_()  # the refinement has nothing but the image
        torch.nn.init.normal_(net.refinement.last.weight)
        changed = image.clone()
        changed[0, 0, 33, 34] += 0.5
        difference = (net(changed) - net(image)).abs().sum(1)[0]
        assert difference[33, 34] > 0
        reached = difference.nonzero() - torch.tensor([33, 34])
        assert reached.abs().max() < 12

    @torch.no_grad()
    def test_without_its_norm_the_embedding_tells_brightness(self):
        def embedded(norm: bool, value: float) -> torch.Tensor:
            torch.manual_seed(0)
            net = SwinRestorer(**CONFIGS["swin"]["tiny"] | {"embed_norm": norm})
            torch.nn.init.zeros_(net.encoder.patch_embed.proj.bias)
            return net.encoder.patch_embed(torch.full((1, 3, 32, 32), value))

        torch.testing.assert_close(embedded(False, 2.0), 2 * embedded(False, 1.0))
        torch.testing.assert_close(embedded(True, 2.0), embedded(True, 1.0), atol=1e-2, rtol=0)

    def test_its_grid_is_that_of_the_coarsest_windows(self):
        assert on_meta("swin", "paper").grid == 32 * 7
        assert build("swin", "embedded").grid == 32 * 8
        net = build("swin", "tiny").eval()
        assert net.grid == 32 * 4
        torch.nn.init.normal_(net.output.weight)
        image = noise(1, 3, 128, 512)
        with torch.no_grad():
            views = (image, image[..., 256:], image[..., 224:])
            whole, aligned, shifted = (net(view)[..., -64:] for view in views)  # far from the cut
        assert (whole - aligned).abs().max() < (whole - shifted).abs().max() / 3

    def test_other_swins_fit(self):
        net = SwinRestorer("swinv2_tiny_window8_256", {"embed_dim": 12, "depths": (1, 1, 1, 1)}, (8,) * 5)
        assert net.eval()(noise(1, 3, 70, 33)).shape == (1, 3, 70, 33)

    @torch.no_grad()
    @pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224"])
    def test_channels_are_told_from_sides(self, name):
        options = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
        net = SwinRestorer(name, options, (8,) * 5).eval()
        for height, width in ((64, 64), (128, 512), (70, 33)):  # a quarter of 64 is 16, as many as channels
            assert net(noise(1, 3, height, width)).shape == (1, 3, height, width)


@pytest.fixture(params=MODELS)
def tiny(request):
    return randomised(build(request.param, "tiny")).eval()


class TestEveryNetwork:
    @torch.no_grad()
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 17), (32, 32), (37, 50), (70, 9)])
    def test_any_size_comes_back(self, tiny, height, width):
        image = noise(2, 3, height, width)
        restored = tiny(image)
        assert restored.shape == image.shape
        assert torch.isfinite(restored).all()

    @torch.no_grad()
    def test_one_image_of_a_batch_does_not_touch_another(self, tiny):
        batch = noise(3, 3, 40, 35)
        alone = torch.cat([tiny(image[None]) for image in batch])
        torch.testing.assert_close(tiny(batch), alone, atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_nothing_is_clamped(self, tiny):
        assert tiny(noise(1, 3, 32, 32) + 5).max() > 1

    def test_gradients_reach_every_parameter_and_the_image(self, tiny):
        image = noise(1, 3, 64, 64).requires_grad_()
        tiny(image).square().sum().backward()
        still = [name for name, parameter in tiny.named_parameters() if parameter.grad is None]
        assert still == []
        assert image.grad.abs().sum() > 0

    @torch.no_grad()
    def test_memory_format_does_not_change_the_image(self, tiny):
        image = noise(1, 3, 45, 38)
        last = tiny(image.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(last, tiny(image), atol=1e-6, rtol=1e-6)

    def test_reloads_with_its_configuration(self, tiny, tmp_path):
        tiny.save_pretrained(tmp_path)
        again = type(tiny).from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
        image = noise(1, 3, 33, 47)
        before, after = tiny.state_dict(), again.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        with torch.no_grad():  # on some processors sums depend on where the weights lie
            torch.testing.assert_close(again(image), tiny(image), atol=1e-6, rtol=1e-6)

    @torch.no_grad()
    @pytest.mark.parametrize("model", MODELS)
    def test_the_small_ones_start_as_the_identity_and_can_learn(self, model):
        net, image = build(model, "tiny"), noise(1, 3, 32, 40)
        assert torch.equal(net(image), image)
        with torch.enable_grad():
            F.l1_loss(net(image), image + 0.1).backward()
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())

    @pytest.mark.parametrize("model", MODELS)
    def test_the_shipped_size_is_small(self, model):
        assert 0.5e6 < count(on_meta(model, "embedded")) < 4e6

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="unknown network 'unet'; choose one of nafnet, promptir, swin"):
            build("unet")
        with pytest.raises(ValueError, match="unknown size of swin 'huge'; choose one of tiny, embedded"):
            build("swin", "huge")


def test_layer_norm_is_that_of_each_pixel():
    from gendeg_core.nafnet_blocks import LayerNorm2d

    norm = LayerNorm2d(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0]))
    # Mean 2, biased variance 1: (1 - 2) / 1 and (3 - 2) / 1.
    out = norm(torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)).flatten().tolist()
    root = math.sqrt(1 + 1e-6)
    assert out == pytest.approx([-1 / root + 0.5, 3 / root])
