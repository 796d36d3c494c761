import math

import pytest
import torch
from PIL import Image
from torch.nn.functional import layer_norm, linear

from imagic.core.errors import NotAvailable
from imagic.core.images import to_rgb
from imagic.core.types import Sample
from imagic.metrics.dino_structure import DINOStructure
from imagic.metrics.region import Reference
from tests.metrics.tiny import SIDE, clip_folder, prepared, vit_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dino")


@pytest.fixture(scope="module")
def model(folder):
    return vit_folder(folder)


def keys(model, image):
    """The keys (T, D) of the last layer for an image (3, SIDE, SIDE), from the states before that layer."""
    with torch.no_grad():
        states = model(prepared(image[None]), output_hidden_states=True).hidden_states[-2][0]
    tensors = model.state_dict()
    (last,) = (
        name.removesuffix(".attention.k_proj.weight") for name in tensors if name.endswith("2.attention.k_proj.weight")
    )
    normal = layer_norm(
        states, states.shape[-1:], tensors[f"{last}.layernorm_before.weight"], tensors[f"{last}.layernorm_before.bias"],
        model.config.layer_norm_eps,
    )  # fmt: skip
    return linear(normal, tensors[f"{last}.attention.k_proj.weight"], tensors[f"{last}.attention.k_proj.bias"])


def distance(a, b):
    """The definition, pair by pair."""
    total = 0.0
    for i in range(len(a)):
        for j in range(len(a)):
            cosines = [float(k[i] @ k[j]) / math.sqrt(float(k[i] @ k[i]) * float(k[j] @ k[j])) for k in (a, b)]
            total += (cosines[0] - cosines[1]) ** 2
    return total / len(a) ** 2


def pictures(count, height=SIDE, width=SIDE):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(4)) * 2 - 1


def test_the_distance_equals_explicit_loops(folder, model):
    image, other, truth = pictures(3)
    found = [keys(model, each).double() for each in (image, other, truth)]
    assert len(found[0]) == 1 + (SIDE // 4) ** 2  # the class token and all patches
    sample = Sample(image, other, "", truth=truth)
    assert DINOStructure(weights=folder)(sample) == pytest.approx(distance(found[0], found[1]), rel=1e-4)
    against_truth = DINOStructure(Reference.TRUTH, weights=folder)(sample)
    assert against_truth == pytest.approx(distance(found[0], found[2]), rel=1e-4)


@pytest.mark.usefixtures("model")
def test_equal_images_have_equal_structure(folder):
    (image,) = pictures(1)
    assert DINOStructure(weights=folder)(Sample(image, image.clone(), "")) == pytest.approx(0, abs=1e-12)


def test_pictures_are_squeezed_as_the_folder_says(folder, model):
    sizes = pictures(2, 40, 64)
    small = []
    for image in sizes:
        rgb = Image.fromarray(to_rgb(image)).resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()
        small.append(torch.frombuffer(bytearray(rgb), dtype=torch.uint8).reshape(SIDE, SIDE, 3).permute(2, 0, 1))
    found = [keys(model, image / 127.5 - 1).double() for image in small]
    assert DINOStructure(weights=folder)(Sample(*sizes, "")) == pytest.approx(distance(*found), rel=1e-4)


@pytest.mark.usefixtures("model")
def test_what_it_cannot_answer(folder, tmp_path):
    image, other = pictures(2)
    with pytest.raises(NotAvailable, match="'dino' are not given"):
        DINOStructure()(Sample(image, other, ""))
    with pytest.raises(NotAvailable, match="true edit"):
        DINOStructure(Reference.TRUTH, weights=folder)(Sample(image, other, ""))
    clip_folder(tmp_path)
    with pytest.raises(NotAvailable, match="CLIPModel: give the folder of a DINO ViTModel"):
        DINOStructure(weights=tmp_path)(Sample(image, other, ""))
