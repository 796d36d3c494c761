import pytest
import torch

from imagic.core.errors import NotAvailable
from imagic.core.images import to_rgb
from imagic.metrics import extractors
from imagic.metrics.extractors import CLIPFeatures, ImageModel, TorchScript, extract
from tests.metrics.tiny import SIDE, clip_folder, prepared, resnet_folder, vit_folder

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Inception(torch.nn.Module):
    """As the file of published FIDs is called: features only where they are asked for."""

    def forward(self, images: torch.Tensor, return_features: bool = False):
        pooled = images.float().mean((2, 3))
        return pooled if return_features else pooled.sum(1)


class Plain(torch.nn.Module):
    def forward(self, images):
        assert images.dtype == torch.uint8
        return images.float().amax((2, 3))


class Classifier(torch.nn.Module):
    def forward(self, images):
        return images.float().mean((1, 2, 3))


class Fussy(torch.nn.Module):
    def forward(self, images):
        assert images.size(0) == 99, "ninety-nine or nothing"
        return images


def program(module, path):
    torch.jit.script(module).save(str(path))
    return path


def pictures(count, side=SIDE):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_clips_features_are_its_image_embeddings(tmp_path):
    model, tokenizer = clip_folder(tmp_path)
    images = pictures(2)
    with torch.no_grad():
        tokens = tokenizer("a dog", return_tensors="pt").input_ids
        expected = model(input_ids=tokens, pixel_values=prepared(images)).image_embeds
    torch.testing.assert_close(CLIPFeatures(weights=tmp_path)(images), expected)


def test_a_transformers_features_are_its_class_token(tmp_path):
    model, images = vit_folder(tmp_path), pictures(2)
    with torch.no_grad():
        expected = model(prepared(images)).last_hidden_state[:, 0]
    torch.testing.assert_close(ImageModel(weights=tmp_path)(images), expected)


def test_a_convolutional_networks_features_are_its_pooled_output(tmp_path):
    model, images = resnet_folder(tmp_path), pictures(2)
    with torch.no_grad():
        expected = model(prepared(images)).pooler_output.flatten(1)
    torch.testing.assert_close(ImageModel(weights=tmp_path)(images), expected)


def test_a_program_sees_8_bit_images(tmp_path):
    images = pictures(3)
    pixels = torch.stack([torch.from_numpy(to_rgb(image)).permute(2, 0, 1) for image in images]).float()
    inception = TorchScript(weights=program(Inception(), tmp_path / "inception.pt"))
    torch.testing.assert_close(inception(images), pixels.mean((2, 3)))
    plain = TorchScript(weights=program(Plain(), tmp_path / "plain.pt"))
    torch.testing.assert_close(plain(images), pixels.amax((2, 3)))


def test_a_program_runs_only_under_the_name_that_says_so(tmp_path, monkeypatch):
    path = program(Inception(), tmp_path / "inception.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("loaded without being trusted"))
    monkeypatch.setenv("IMAGIC_METRIC_WEIGHTS", f"image-model={path}")
    with pytest.raises(NotAvailable, match="not a folder"):
        ImageModel()(pictures(1))
    with pytest.raises(NotAvailable, match="'trusted-torchscript' are not given"):
        TorchScript()(pictures(1))


def test_files_that_are_no_feature_extractor(tmp_path):
    (tmp_path / "text.pt").write_text("no program")
    with pytest.raises(NotAvailable, match="not a TorchScript file"):
        TorchScript(weights=tmp_path / "text.pt")(pictures(1))
    with pytest.raises(NotAvailable, match="one feature vector per image"):
        TorchScript(weights=program(Classifier(), tmp_path / "classifier.pt"))(pictures(2))
    with pytest.raises(NotAvailable, match=r"fails on 8-bit images.*ninety-nine or nothing"):
        TorchScript(weights=program(Fussy(), tmp_path / "fussy.pt"))(pictures(2))
    clip_folder(tmp_path)
    with pytest.raises(NotAvailable, match="use the extractor 'clip'"):
        ImageModel(weights=tmp_path)(pictures(1))


def test_sets_of_any_sizes_keep_their_order(monkeypatch):
    monkeypatch.setattr(extractors, "BATCH", 2)
    seen = []

    class Brightness:
        name = "brightness"

        def __call__(self, images):
            seen.append(tuple(images.shape))
            return images.mean((1, 2, 3)).unsqueeze(1)

    images = [torch.full((3, side, 4), value) for side, value in ((4, 0.1), (4, 0.2), (4, 0.3), (6, 0.4), (4, 0.5))]
    features = extract(Brightness(), iter(images))
    assert features.dtype == torch.float64
    assert features.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert seen == [(2, 3, 4, 4), (1, 3, 4, 4), (1, 3, 6, 4), (1, 3, 4, 4)]
    with pytest.raises(NotAvailable, match="no images"):
        extract(Brightness(), [])
