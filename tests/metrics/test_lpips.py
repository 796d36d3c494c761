import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.lpips import VGGLPIPS, AlexLPIPS
from imagic.metrics.region import Reference, Region
from tests.metrics.test_against_skimage import half_mask, images
from tests.metrics.tiny import alexnet, lpips_file, vgg16

NETWORKS = [(AlexLPIPS, alexnet), (VGGLPIPS, vgg16)]


def maps(image, other, network, taps, heads):
    """Per depth, the distance at each pixel, in float64: the paper's equation 1 before the mean, by plain NumPy."""
    network = network.double()
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    both = []
    for each in (image, other):
        x = (each.double().numpy() - shift[:, None, None]) / scale[:, None, None]
        x, seen = torch.from_numpy(x)[None], []
        for index, layer in enumerate(network):
            x = layer(x)
            if index in taps:
                seen.append(x[0].detach().numpy())
        both.append(seen)
    distances = []
    for a, b, head in zip(*both, heads, strict=True):
        a, b = (f / (np.linalg.norm(f, axis=0) + 1e-10) for f in (a, b))
        distances.append(np.einsum("c,chw->hw", head.flatten().double().numpy(), (a - b) ** 2))
    return distances


@pytest.mark.parametrize(("metric", "build"), NETWORKS)
def test_the_distance_equals_a_plain_implementation(metric, build, tmp_path):
    network, taps, heads = lpips_file(tmp_path / "weights.safetensors", build)
    clean, noisy = images(70, 83)
    expected = [sum(m.mean() for m in maps(noisy, other, network, taps, heads)) for other in (clean, clean.flip(-1))]
    sample = Sample(noisy, clean, "", truth=clean.flip(-1))
    weights = tmp_path / "weights.safetensors"
    assert metric(weights=weights)(sample) == pytest.approx(expected[0], rel=1e-5)
    assert metric(reference=Reference.TRUTH, weights=weights)(sample) == pytest.approx(expected[1], rel=1e-5)
    assert metric(weights=weights)(Sample(clean, noisy, "")) == pytest.approx(expected[0], rel=1e-5)
    assert metric(weights=weights)(Sample(clean, clean, "")) == 0


@pytest.mark.parametrize(("metric", "build"), NETWORKS)
def test_in_a_region_each_depth_is_a_weighted_mean(metric, build, tmp_path):
    network, taps, heads = lpips_file(tmp_path / "weights.safetensors", build)
    clean, noisy = images(64, 64)
    mask = half_mask(64, 64) * torch.linspace(0, 1, 64).reshape(1, -1, 1)
    for region, weight in ((Region.EDITED, mask), (Region.KEPT, 1 - mask)):
        expected = 0
        for distances in maps(noisy, clean, network, taps, heads):
            shares = torch.nn.functional.adaptive_avg_pool2d(weight.double(), distances.shape)[0].numpy()
            expected += (distances * shares).sum() / shares.sum()
        found = metric(region, weights=tmp_path / "weights.safetensors")(Sample(noisy, clean, "", region=mask))
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("metric", "build"), NETWORKS)
def test_the_smallest_image_is_the_smallest_that_the_network_takes(metric, build, tmp_path):
    network, taps, _ = lpips_file(tmp_path / "weights.safetensors", build)
    side = metric.smallest
    assert network[: taps[-1] + 1](torch.zeros(1, 3, side, side)).numel() > 0
    with pytest.raises(RuntimeError):
        network[: taps[-1] + 1](torch.zeros(1, 3, side - 1, side - 1))
    small = torch.zeros(3, side - 1, 64)
    with pytest.raises(NotAvailable, match=f"at least {side} pixels"):
        metric(weights=tmp_path / "weights.safetensors")(Sample(small, small, ""))


def test_network_and_heads_may_be_two_files_of_a_folder(tmp_path):
    lpips_file(tmp_path / "both.safetensors", alexnet)
    tensors = load_file(tmp_path / "both.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    for part, starts in (("alexnet", ("features.", "classifier.")), ("heads", ("lin",))):
        save_file({k: v for k, v in tensors.items() if k.startswith(starts)}, folder / f"{part}.safetensors")
    sample = Sample(*images(64, 64), "")
    assert AlexLPIPS(weights=folder)(sample) == AlexLPIPS(weights=tmp_path / "both.safetensors")(sample)


def test_the_weights_may_come_from_the_environment(tmp_path, monkeypatch):
    lpips_file(tmp_path / "both.safetensors", alexnet)
    sample = Sample(*images(64, 64), "")
    with pytest.raises(NotAvailable, match="'lpips-alex' are not given"):
        AlexLPIPS()(sample)
    monkeypatch.setenv("IMAGIC_METRIC_WEIGHTS", f"lpips-alex={tmp_path / 'both.safetensors'}")
    assert AlexLPIPS()(sample) > 0
    with pytest.raises(NotAvailable, match="'lpips-vgg' are not given"):
        VGGLPIPS()(sample)


def test_weights_that_cannot_be_used(tmp_path):
    sample = Sample(*images(64, 64), "")
    lpips_file(tmp_path / "alex.safetensors", alexnet)
    with pytest.raises(NotAvailable, match=r"lacks the tensor 'features\.2\.weight'"):
        VGGLPIPS(weights=tmp_path / "alex.safetensors")(sample)
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(NotAvailable, match="cannot be read as safetensors"):
        AlexLPIPS(weights=tmp_path / "damaged.safetensors")(sample)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAvailable, match="lacks the tensor"):
        AlexLPIPS(weights=tmp_path / "empty")(sample)
    tensors = load_file(tmp_path / "alex.safetensors")
    save_file({**tensors, "lin1.model.1.weight": torch.ones(1, 99, 1, 1)}, tmp_path / "heads.safetensors")
    with pytest.raises(NotAvailable, match="heads of another network"):
        AlexLPIPS(weights=tmp_path / "heads.safetensors")(sample)
