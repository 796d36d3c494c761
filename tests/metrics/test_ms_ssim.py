import numpy as np
import pytest
import torch
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity
from torch.nn import functional
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as torchmetrics_value

from imagic.core.errors import NotAvailable
from imagic.core.types import Sample
from imagic.metrics.ms_ssim import MSSSIM
from imagic.metrics.region import Reference, Region
from imagic.metrics.ssim import RADIUS, SSIM, components
from tests.metrics.test_against_skimage import half_mask, images


def reference_value(image, other, powers=(0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
    """From scikit-image's SSIM: a huge K1 makes its luminance 1, which leaves contrast and structure."""
    pair, value = [each.double().numpy() for each in (image, other)], 1.0
    for scale, power in enumerate(powers):
        if scale:
            even = [each[:, : each.shape[1] // 2 * 2, : each.shape[2] // 2 * 2] for each in pair]
            pair = [block_reduce(each, (1, 2, 2), np.mean) for each in even]
        value *= structural_similarity(
            *pair, data_range=2, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            K1=0.01 if scale == len(powers) - 1 else 1e6,
        ) ** power  # fmt: skip
    return value


@pytest.mark.parametrize("size", [(176, 176), (181, 207)])
def test_full_image_values_equal_scikit_images_at_each_scale(size):
    clean, noisy = images(*size, noise=0.4)
    truth = 0.5 * (clean + noisy)
    sample = Sample(noisy, clean, "", truth=truth)
    assert MSSSIM()(sample) == pytest.approx(reference_value(noisy, clean), abs=1e-9)
    assert MSSSIM(reference=Reference.TRUTH)(sample) == pytest.approx(reference_value(noisy, truth), abs=1e-9)


def test_contrast_and_structure_equal_torchmetrics():
    """With the power 0 for the last scale: there torchmetrics also counts windows of mirrored pixels."""
    clean, noisy = images(181, 207, noise=0.4)
    powers = (0.3, 0.3, 0.4, 0.0)
    oracle = torchmetrics_value(noisy[None].double(), clean[None].double(), data_range=2.0, betas=powers)
    assert MSSSIM(powers=powers)(Sample(noisy, clean, "")) == pytest.approx(oracle.item(), abs=1e-6)


def test_one_scale_is_ssim():
    clean, noisy = images()
    sample = Sample(noisy, clean, "", region=half_mask())
    for region in Region:
        assert MSSSIM(region, powers=(1.0,))(sample) == pytest.approx(SSIM(region)(sample), abs=1e-12)


def test_in_a_region_each_scale_is_a_weighted_mean():
    clean, noisy = images()
    mask = half_mask() * torch.linspace(0.1, 1, 48).reshape(1, -1, 1)
    inner = slice(RADIUS, -RADIUS)
    small = [functional.interpolate(each[None], scale_factor=0.5, mode="area")[0].double() for each in (noisy, clean)]
    weights = [mask.double(), mask.double().reshape(1, 24, 2, 20, 2).mean((2, 4))]
    _, contrast = components(noisy.double(), clean.double())
    luminance, other = components(*small)
    means = [
        (values * weight[:, inner, inner]).sum() / (3 * weight[:, inner, inner].sum())
        for values, weight in zip((contrast, luminance * other), weights, strict=True)
    ]
    expected = means[0] ** 0.3 * means[1] ** 0.7
    sample = Sample(noisy, clean, "", region=mask)
    assert MSSSIM(Region.EDITED, powers=(0.3, 0.7))(sample) == pytest.approx(expected.item(), abs=1e-9)


def test_equal_images_and_opposite_ones():
    clean, _ = images(176, 176)
    assert MSSSIM()(Sample(clean, clean, "")) == pytest.approx(1, abs=1e-12)
    assert MSSSIM()(Sample(clean, -clean, "")) == 0  # contrast and structure are negative


def test_direction_follows_the_damage():
    clean, noisy = images(176, 176, noise=0.1)
    _, noisier = images(176, 176, noise=0.4)
    assert MSSSIM.higher_is_better
    assert MSSSIM()(Sample(noisy, clean, "")) > MSSSIM()(Sample(noisier, clean, ""))


def test_what_it_cannot_answer():
    small = torch.zeros(3, 175, 300)
    with pytest.raises(NotAvailable, match="at least 176 pixels"):
        MSSSIM()(Sample(small, small, ""))
    big = torch.zeros(3, 176, 176)
    with pytest.raises(NotAvailable, match="needs a mask"):
        MSSSIM(Region.KEPT)(Sample(big, big, ""))
    border = torch.zeros(1, 176, 176)
    border[:, :8] = 1  # no window of the coarser scales has its centre there
    with pytest.raises(NotAvailable, match="no value"):
        MSSSIM(Region.EDITED)(Sample(big, big, "", region=border))
