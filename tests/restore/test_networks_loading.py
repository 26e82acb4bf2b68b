"""Opening restorers: what is stored comes back, and what cannot be used is refused in a sentence."""

from __future__ import annotations

import copy
import json
import pickle
import sys

import pytest
import torch

from gendeg_core import cli
from gendeg_core.restore import loading, zoo
from gendeg_core.restore.loading import Label, available, load_restorer, shipped_folder, write_label
from gendeg_core.restore.local_pooling import LocalAttention
from gendeg_core.restore.published import convert, load_published, read_state, recognise
from tests import golden
from tests.restore.tiny import randomised

CPU = torch.device("cpu")
GOLDEN_PROMPTIR = golden.load("promptir")


def image(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def label(model, training="existing"):
    return Label(model, training, 10, 20, 160, "drawn scenes", "It is a test.")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A weights folder with random networks in half precision: both of NAFNet, one of Swin."""
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path)
    for seed, (model, training) in enumerate(
        [("swin", "existing"), ("nafnet", "gends"), ("nafnet", "existing")]
    ):
        net = randomised(zoo.build(model, "tiny"), seed).half()
        net.save_pretrained(shipped_folder(model, training), safe_serialization=True)
        write_label(shipped_folder(model, training), label(model, training))
    return tmp_path


@pytest.fixture
def nafnet_file(tmp_path):
    path = tmp_path / "NAFNet-small.pth"
    torch.save({"params": golden.official_state("nafnet")}, path)
    return path


@pytest.fixture(scope="module")
def promptir_file(tmp_path_factory):
    """As Lightning writes it: weights under a prefix, and the state of the training beside them."""
    path = tmp_path_factory.mktemp("promptir") / "model.ckpt"
    state = {f"net.{key}": value for key, value in golden.official_state("promptir").items()}
    torch.save({"epoch": 3, "state_dict": state, "optimizer_states": [{"state": {}}], "callbacks": {}}, path)
    return path


class TestShipped:
    def test_what_is_there_is_listed_in_order(self, weights):
        found = [(one.model, one.training) for one in available()]
        assert found == [("nafnet", "existing"), ("nafnet", "gends"), ("swin", "existing")]

    @torch.no_grad()
    def test_the_stored_network_comes_back_in_float32(self, weights):
        net = randomised(zoo.build("swin", "tiny")).eval()
        for parameter in net.parameters():
            parameter.copy_(parameter.half())
        folder = shipped_folder("swin", "existing")
        copy.deepcopy(net).half().save_pretrained(folder, safe_serialization=True)
        restorer = load_restorer("swin", "existing", CPU)
        torch.testing.assert_close(
            restorer.net(image(1, 3, 45, 50)), net(image(1, 3, 45, 50)), atol=1e-6, rtol=0
        )
        assert all(parameter.dtype == torch.float32 for parameter in restorer.net.parameters())
        assert not restorer.net.training
        assert restorer.label == label("swin")

    def test_the_two_trainings_are_told_apart(self, weights):
        identities = {load_restorer("nafnet", training, CPU).weights for training in ("existing", "gends")}
        assert len(identities) == 2
        assert {name.split("@")[0] for name in identities} == {"nafnet_existing", "nafnet_gends"}

    def test_missing_weights_name_those_that_are_there(self, weights):
        with pytest.raises(OSError, match=r"no 'gends' weights of swin.*nafnet existing, nafnet gends"):
            load_restorer("swin", "gends", CPU)

    def test_nothing_shipped_is_an_empty_list(self, tmp_path, monkeypatch):
        monkeypatch.setattr(loading, "WEIGHTS", tmp_path / "none")
        assert available() == []

    def test_a_damaged_label_is_named(self, weights):
        (shipped_folder("swin", "existing") / "label.json").write_text('{"model": "swin"}')
        with pytest.raises(OSError, match=r"label\.json is damaged"):
            available()

    def test_pixels_far_apart_are_pooled_apart_if_the_crop_is_known(self, tmp_path):
        config = zoo.CONFIGS["nafnet"]["tiny"] | {"photo_side": 0}
        for size, expected in ((0, 0), (32, 5)):
            zoo.build_from("nafnet", config | {"train_size": size}).save_pretrained(tmp_path / str(size))
            net = load_restorer("nafnet", tmp_path / str(size), CPU).net
            assert sum(isinstance(module, LocalAttention) for module in net.modules()) == expected


class TestFolder:
    def folder(self, tmp_path):
        zoo.build("nafnet", "tiny").save_pretrained(tmp_path / "net")
        return tmp_path / "net"

    def test_without_label_there_is_none(self, tmp_path):
        restorer = load_restorer("nafnet", self.folder(tmp_path), CPU)
        assert restorer.label is None
        assert restorer.weights.startswith("net@")

    def test_another_network_than_asked_for(self, tmp_path):
        folder = self.folder(tmp_path)
        with pytest.raises(ValueError, match="holds nafnet, not swin; choose nafnet or any"):
            load_restorer("swin", folder, CPU)
        assert load_restorer("any", folder, CPU).model == "nafnet"

    def test_incomplete(self, tmp_path):
        folder = self.folder(tmp_path)
        (folder / "config.json").unlink()
        with pytest.raises(OSError, match=r"config\.json is missing"):
            load_restorer("nafnet", folder, CPU)

    def test_weights_of_another_size_than_the_configuration(self, tmp_path):
        folder = self.folder(tmp_path)
        stored = json.loads((folder / "config.json").read_text())
        for change in ({"width": 16}, {"middle_blocks": 2}, {"encoder_blocks": [1, 0]}):
            (folder / "config.json").write_text(json.dumps(stored | change))
            with pytest.raises(OSError, match=r"the weights in .*net"):
                load_restorer("nafnet", folder, CPU)

    def test_damaged_weights(self, tmp_path):
        folder = self.folder(tmp_path)
        path = folder / "diffusion_pytorch_model.safetensors"
        path.write_bytes(path.read_bytes()[:500])
        with pytest.raises(OSError, match="cannot be read"):
            load_restorer("nafnet", folder, CPU)

    def test_no_restorer(self, tmp_path):
        folder = self.folder(tmp_path)
        (folder / "config.json").write_text('{"_class_name": "StructureCorrection"}')
        with pytest.raises(ValueError, match="holds StructureCorrection, which is no restorer"):
            load_restorer("nafnet", folder, CPU)


class TestPublished:
    @torch.no_grad()
    def test_a_nafnet_file_gives_the_official_numbers(self, nafnet_file):
        numbers, restorer = golden.load("nafnet"), load_restorer("nafnet", nafnet_file, CPU)
        golden.assert_close(restorer.net(numbers["in/image"]), numbers["out/global"], 1e-5)
        assert (restorer.model, restorer.weights.split("@")[0]) == ("nafnet", "NAFNet-small")

    @torch.no_grad()
    def test_a_promptir_file_gives_the_official_numbers(self, promptir_file):
        restorer = load_restorer("promptir", promptir_file, CPU)
        golden.assert_close(restorer.net(GOLDEN_PROMPTIR["in/image"]), GOLDEN_PROMPTIR["out/image"], 1e-5)

    @pytest.mark.parametrize("size", ["SIDD-width32", "GoPro-width64", "tiny"])
    def test_every_nafnet_is_recognised_by_its_shapes(self, size):
        with torch.device("meta"):
            state = zoo.build("nafnet", size).state_dict()
        filled = {key: torch.zeros(value.shape, dtype=torch.float16) for key, value in state.items()}
        net = load_published("nafnet", filled, "file.pth")
        expected = zoo.CONFIGS["nafnet"][size] | {"photo_side": 0}  # which a file of weights does not tell
        assert {key: net.config[key] for key in expected} == expected
        assert net.config["train_size"] == (256 if size.startswith("GoPro") else 0)

    def test_local_pooling_comes_with_the_deblurring_layout(self, tmp_path):
        path = tmp_path / "NAFNet-GoPro.pth"
        config = zoo.CONFIGS["nafnet"]["GoPro-width32"] | {"width": 2}
        torch.save({"params": zoo.build_from("nafnet", config).state_dict()}, path)
        attention = load_restorer("nafnet", path, CPU).net.encoders[1][0].sca
        assert attention.window == (192, 192)

    def test_converted_folders_open_and_agree(self, nafnet_file, tmp_path, capsys):
        out = tmp_path / "converted"
        assert cli.main(["convert", str(nafnet_file), "--output", str(out)]) == 0
        assert capsys.readouterr().out == f"{out}\n"
        numbers = golden.load("nafnet")
        with torch.no_grad():
            restored = load_restorer("nafnet", out, CPU).net(numbers["in/image"])
        golden.assert_close(restored, numbers["out/global"], 1e-5)
        assert cli.main(["convert", str(nafnet_file), "--output", str(out)]) == 2
        assert "already exists" in capsys.readouterr().err

    def test_prefixes_of_parallel_training_are_dropped(self, tmp_path):
        path = tmp_path / "wrapped.pth"
        torch.save({f"module.{k}": v for k, v in golden.official_state("nafnet").items()}, path)
        assert recognise(read_state(path)) == "nafnet"


class TestRefused:
    def refuse(self, state, path, match):
        torch.save({"params": state}, path)
        with pytest.raises(ValueError, match=match):
            load_restorer("nafnet", path, CPU)

    def test_missing_extra_and_misshapen_keys(self, tmp_path):
        official, path = golden.official_state("nafnet"), tmp_path / "a.pth"
        short = {key: value for key, value in official.items() if key != "downs.1.bias"}
        self.refuse(short, path, r"a\.pth is not laid out as nafnet; keys 1 missing: downs\.1\.bias$")
        self.refuse(official | {"tail.bias": torch.zeros(1)}, path, r"keys 1 unexpected: tail\.bias$")
        bent = official | {"encoders.1.0.conv2.weight": torch.zeros(32, 2, 3, 3)}
        self.refuse(bent, path, r"keys 1 of another shape: encoders\.1\.0\.conv2\.weight$")
        self.refuse(
            {k: v for k, v in official.items() if k != "intro.weight"}, path, r"'intro\.weight' is missing"
        )

    def test_structure_correction_is_no_restorer(self, tmp_path):
        official = golden.official_state("structure")
        self.refuse(official, tmp_path / "s.pth", "takes 6 channels instead of 3")

    def test_python_objects_are_not_run(self, tmp_path):
        marker = tmp_path / "ran"

        class Trap:
            def __reduce__(self):
                return (open, (str(marker), "w"))

        path = tmp_path / "trap.pth"
        path.write_bytes(pickle.dumps({"params": Trap()}, protocol=2))
        with pytest.raises(ValueError, match=r"trap\.pth holds Python objects"):
            load_restorer("nafnet", path, CPU)
        assert not marker.exists()

    def test_a_network_nobody_knows(self, tmp_path):
        self.refuse({"some.weight": torch.zeros(3)}, tmp_path / "x.pth", "no network that is known here")

    def test_nothing_to_convert(self, tmp_path):
        torch.save({"some.weight": torch.zeros(3)}, tmp_path / "x.pth")
        with pytest.raises(ValueError, match="holds neither NAFNet nor PromptIR"):
            convert(tmp_path / "x.pth", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_names_and_places(self, tmp_path):
        with pytest.raises(ValueError, match="unknown network 'unet'"):
            load_restorer("unet", "existing", CPU)
        with pytest.raises(OSError, match=r"no weights nowhere; give existing, gends, a folder"):
            load_restorer("nafnet", "nowhere", CPU)
        with pytest.raises(ValueError, match="shipped per network"):
            load_restorer("any", "gends", CPU)


class TestForeign:
    def state(self):
        """A small network that spandrel knows and we do not, at scale 1."""
        spandrel = pytest.importorskip("spandrel")
        net = spandrel.architectures.Compact.Compact(num_feat=8, num_conv=2, upscale=1)
        return {k: v.detach().clone() for k, v in net.state_dict().items()}, net.eval()

    @torch.no_grad()
    def test_another_architecture_opens_through_spandrel(self, tmp_path):
        state, net = self.state()
        torch.save({"params": state}, tmp_path / "compact.pth")
        restorer = load_restorer("any", tmp_path / "compact.pth", CPU)
        assert restorer.model == "RealESRGAN Compact"
        torch.testing.assert_close(restorer.net(image(1, 3, 33, 21)), net(image(1, 3, 33, 21)).clamp(0, 1))
        with pytest.raises(ValueError, match="holds RealESRGAN Compact, not nafnet"):
            load_restorer("nafnet", tmp_path / "compact.pth", CPU)

    def test_upscalers_are_refused(self, tmp_path):
        spandrel = pytest.importorskip("spandrel")
        net = spandrel.architectures.Compact.Compact(num_feat=8, num_conv=2, upscale=2)
        torch.save(net.state_dict(), tmp_path / "up.pth")
        with pytest.raises(ValueError, match="Compact with scale 2 from 3 to 3 channels"):
            load_restorer("any", tmp_path / "up.pth", CPU)

    def test_without_spandrel_one_sentence_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "spandrel", None)
        torch.save({"some.weight": torch.zeros(3)}, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=r'pip install "gendeg-studio\[spandrel\]"'):
            load_restorer("any", tmp_path / "x.pth", CPU)
