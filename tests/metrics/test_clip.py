import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from imagic.core import registry
from imagic.core.errors import NotAvailable
from imagic.core.images import to_rgb
from imagic.core.registry import Group
from imagic.core.types import Sample
from imagic.metrics.clip_directional import CLIPDirectional
from imagic.metrics.clip_image import CLIPImage
from imagic.metrics.clip_score import CLIPScore
from imagic.metrics.extractors import CLIPFeatures
from imagic.metrics.menagerie_clip import (
    MenagerieCLIPDirectional,
    MenagerieCLIPFeatures,
    MenagerieCLIPImage,
    MenagerieCLIPScore,
)
from imagic.metrics.region import Reference
from imagic.metrics.weights import SHIPPED, build, identity
from tests.conftest import TEXT_LENGTH
from tests.metrics.tiny import SIDE, clip_folder, prepared, vit_folder

TARGET, SOURCE = "a photo of a dog sitting on the grass", "a cat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clip")


@pytest.fixture(scope="module")
def oracle(folder):
    """transformers' own forward: images prepared by hand and one text to their embeddings and their logits' cosine."""
    model, tokenizer = clip_folder(folder)

    def embed(images, text):
        tokens = tokenizer(text, truncation=True, max_length=TEXT_LENGTH, return_tensors="pt")
        with torch.no_grad():
            output = model(input_ids=tokens.input_ids, pixel_values=prepared(images))
        cosines = output.logits_per_image[:, 0] / model.logit_scale.exp()
        return output.image_embeds, output.text_embeds[0], cosines.detach()

    return embed


def pictures(count=2, side=SIDE):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_score_is_the_cosine_of_clips_own_logits(folder, oracle):
    (image,) = pictures(1)
    _, _, (expected,) = oracle(image[None], TARGET)
    assert CLIPScore(weights=folder)(Sample(image, -image, TARGET)) == pytest.approx(expected.item(), abs=1e-5)
    _, _, (other,) = oracle(image[None], SOURCE)
    assert abs(other - expected) > 1e-2
    assert CLIPScore(weights=folder)(Sample(image, -image, SOURCE)) == pytest.approx(other.item(), abs=1e-5)


def test_a_long_text_is_cut_as_clip_cuts_it(folder, oracle):
    (image,) = pictures(1)
    text = " ".join(["a dog sitting on the grass"] * 5)
    _, _, (expected,) = oracle(image[None], text)
    assert CLIPScore(weights=folder)(Sample(image, image, text)) == pytest.approx(expected.item(), abs=1e-5)


def test_image_similarity_is_the_cosine_of_the_embeddings(folder, oracle):
    image, other = pictures()
    embeds, _, _ = oracle(torch.stack([image, other, other.flip(-1)]), TARGET)
    sample = Sample(image, other, "", truth=other.flip(-1))
    for reference, row in ((Reference.INPUT, 1), (Reference.TRUTH, 2)):
        expected = cosine_similarity(embeds[0], embeds[row], dim=0).item()
        assert CLIPImage(reference, weights=folder)(sample) == pytest.approx(expected, abs=1e-5)
    assert CLIPImage(weights=folder)(Sample(image, image, "")) == pytest.approx(1, abs=1e-6)


def test_directional_similarity_compares_the_ways_of_image_and_text(folder, oracle):
    image, other = pictures()
    embeds, target, _ = oracle(torch.stack([image, other]), TARGET)
    _, source, _ = oracle(image[None], SOURCE)
    expected = cosine_similarity(embeds[0] - embeds[1], target - source, dim=0).item()
    there = CLIPDirectional(weights=folder)(Sample(image, other, TARGET, SOURCE))
    assert there == pytest.approx(expected, abs=1e-4)
    assert CLIPDirectional(weights=folder)(Sample(other, image, TARGET, SOURCE)) == pytest.approx(-there, abs=1e-4)


def test_a_picture_of_another_size_is_resized_and_cropped_as_the_folder_says(folder, oracle):
    """By Pillow, as published scores are: the short side to SIDE, bicubic, and the middle of the long one."""
    image = torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(2)) * 2 - 1
    small = Image.fromarray(to_rgb(image)).resize((24, SIDE), Image.Resampling.BICUBIC).crop((4, 0, 20, SIDE))
    cropped = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).reshape(SIDE, SIDE, 3).permute(2, 0, 1)
    _, _, (expected,) = oracle(cropped[None] / 127.5 - 1, TARGET)
    assert CLIPScore(weights=folder)(Sample(image, image, TARGET)) == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.usefixtures("oracle")
def test_what_has_no_answer_is_not_available(folder):
    image, other = pictures()
    with pytest.raises(NotAvailable, match="target text"):
        CLIPScore(weights=folder)(Sample(image, other, ""))
    with pytest.raises(NotAvailable, match="true edit"):
        CLIPImage(Reference.TRUTH, weights=folder)(Sample(image, other, ""))
    with pytest.raises(NotAvailable, match="source text"):
        CLIPDirectional(weights=folder)(Sample(image, other, TARGET))
    with pytest.raises(NotAvailable, match="The image has not moved"):
        CLIPDirectional(weights=folder)(Sample(image, image, TARGET, SOURCE))
    with pytest.raises(NotAvailable, match="The text has not moved"):
        CLIPDirectional(weights=folder)(Sample(image, other, TARGET, TARGET))


def test_the_bundled_clip_has_names_of_its_own_and_the_same_formulas(folder, monkeypatch, tmp_path):
    image, other = pictures()
    sample = Sample(image, other, TARGET, SOURCE)
    kinds = (
        (MenagerieCLIPScore, CLIPScore),
        (MenagerieCLIPImage, CLIPImage),
        (MenagerieCLIPDirectional, CLIPDirectional),
    )
    monkeypatch.setitem(SHIPPED, "menagerie-clip", tmp_path / "nothing")
    for kind, _ in kinds:
        with pytest.raises(NotAvailable, match="no weights 'menagerie-clip'"):
            kind()(sample)
    with pytest.raises(NotAvailable, match="no weights 'menagerie-clip'"):
        MenagerieCLIPFeatures()(image[None])
    monkeypatch.setitem(SHIPPED, "menagerie-clip", folder)
    for kind, plain in kinds:
        assert kind()(sample) == plain(weights=folder)(sample)
        assert kind.name == f"menagerie-{plain.name}"
        assert registry.find(Group.METRICS, kind.name) is kind
        with pytest.raises(NotAvailable, match="'clip' are not given"):
            plain()(sample)
    features = MenagerieCLIPFeatures()(torch.stack([image, other]))
    torch.testing.assert_close(features, CLIPFeatures(weights=folder)(torch.stack([image, other])))
    assert registry.find(Group.EXTRACTORS, "menagerie-clip") is MenagerieCLIPFeatures
    _, known = build(MenagerieCLIPScore, {})
    assert known == identity(folder)


@pytest.mark.parametrize("metric", [CLIPScore, CLIPImage, CLIPDirectional])
def test_without_weights_or_with_others_it_is_not_available(metric, tmp_path):
    image, other = pictures()
    sample = Sample(image, other, TARGET, SOURCE)
    with pytest.raises(NotAvailable, match="'clip' are not given"):
        metric()(sample)
    vit_folder(tmp_path)
    with pytest.raises(NotAvailable, match="ViTModel: give the folder of a CLIPModel"):
        metric(weights=tmp_path)(sample)
