import math

import pytest
import torch
from skimage import metrics as oracle

from imagic.core.errors import NotAvailable
from imagic.core.types import Metric, Sample
from imagic.metrics.l1 import L1
from imagic.metrics.psnr import PSNR
from imagic.metrics.region import Reference, Region
from imagic.metrics.ssim import RADIUS, SSIM


def images(height=48, width=40, noise=0.2):
    generator = torch.Generator().manual_seed(3)
    smooth = torch.rand(1, 3, 6, 6, generator=generator) * 2 - 1
    clean = torch.nn.functional.interpolate(smooth, (height, width), mode="bilinear")[0]
    return clean, (clean + noise * torch.randn(3, height, width, generator=generator)).clamp(-1, 1)


def half_mask(height=48, width=40):
    mask = torch.zeros(1, height, width)
    mask[:, :, : width // 2] = 1
    return mask


def skimage_ssim(a, b, full=False):
    return oracle.structural_similarity(
        a.double().numpy(), b.double().numpy(), data_range=2, channel_axis=0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=full,
    )  # fmt: skip


@pytest.mark.parametrize("reference", list(Reference))
def test_full_image_values_equal_scikit_image(reference):
    clean, noisy = images()
    other = clean if reference is Reference.INPUT else clean.flip(-1)
    sample = Sample(noisy, clean, "", truth=clean.flip(-1))
    assert PSNR(reference=reference)(sample) == pytest.approx(
        oracle.peak_signal_noise_ratio(other.double().numpy(), noisy.double().numpy(), data_range=2), abs=1e-9
    )
    assert SSIM(reference=reference)(sample) == pytest.approx(skimage_ssim(other, noisy), abs=1e-10)
    assert L1(reference=reference)(sample) == pytest.approx((other - noisy).abs().double().mean().item(), abs=1e-9)


def test_ssim_in_a_region_is_the_weighted_mean_of_scikit_images_map():
    clean, noisy = images()
    mask = half_mask() * torch.linspace(0, 1, 48).reshape(1, -1, 1)
    _, values = skimage_ssim(clean, noisy, full=True)
    inner = slice(RADIUS, -RADIUS)
    values, weight = torch.from_numpy(values)[:, inner, inner], mask.double()[:, inner, inner]
    for region, w in ((Region.EDITED, weight), (Region.KEPT, 1 - weight)):
        expected = (values * w).sum() / (3 * w.sum())
        assert SSIM(region)(Sample(noisy, clean, "", region=mask)) == pytest.approx(expected.item(), abs=1e-10)


@pytest.mark.parametrize(("region", "offset"), [(Region.EDITED, 0.5), (Region.KEPT, 0.1)])
def test_psnr_and_l1_see_only_their_region(region, offset):
    mask = half_mask()
    sample = Sample(mask * 0.5 + (1 - mask) * 0.1, torch.zeros(3, 48, 40), "", region=mask)
    sample = Sample(sample.image.expand(3, -1, -1), sample.input, "", region=mask)
    assert PSNR(region)(sample) == pytest.approx(10 * math.log10(4 / offset**2), abs=1e-5)
    assert L1(region)(sample) == pytest.approx(offset, abs=1e-7)


def test_a_soft_mask_weighs_each_pixel():
    image = torch.zeros(3, 1, 2)
    image[..., 0] = 0.4
    sample = Sample(image, torch.zeros(3, 1, 2), "", region=torch.tensor([[[0.75, 0.25]]]))
    assert L1(Region.EDITED)(sample) == pytest.approx(0.75 * 0.4, abs=1e-7)
    assert PSNR(Region.KEPT)(sample) == pytest.approx(10 * math.log10(4 / (0.25 * 0.16)), abs=1e-5)


def test_equal_images():
    clean, _ = images()
    sample = Sample(clean, clean, "")
    assert PSNR()(sample) == math.inf
    assert SSIM()(sample) == pytest.approx(1, abs=1e-12)
    assert L1()(sample) == 0


@pytest.mark.parametrize("metric", [L1, PSNR, SSIM])
@pytest.mark.parametrize(
    ("region", "reference", "mask", "reason"),
    [
        (Region.EDITED, Reference.INPUT, torch.zeros(1, 48, 40), "'edited' of this image is empty"),
        (Region.KEPT, Reference.INPUT, torch.ones(1, 48, 40), "'kept' of this image is empty"),
        (Region.KEPT, Reference.INPUT, None, "needs a mask"),
        (Region.ALL, Reference.TRUTH, None, "true edit"),
    ],
)
def test_a_question_without_an_answer_is_not_available(metric, region, reference, mask, reason):
    clean, noisy = images()
    with pytest.raises(NotAvailable, match=reason):
        metric(region, reference)(Sample(noisy, clean, "", region=mask))


def test_ssim_needs_a_whole_window():
    with pytest.raises(NotAvailable, match="at least 11 pixels"):
        SSIM()(Sample(torch.zeros(3, 10, 64), torch.zeros(3, 10, 64), ""))
    assert SSIM()(Sample(torch.zeros(3, 11, 11), torch.zeros(3, 11, 11), "")) == pytest.approx(1)


def test_ssim_without_a_window_in_the_region_is_not_available():
    mask = torch.zeros(1, 48, 40)
    mask[:, :3] = 1
    with pytest.raises(NotAvailable, match="no value"):
        SSIM(Region.EDITED)(Sample(torch.zeros(3, 48, 40), torch.zeros(3, 48, 40), "", region=mask))


@pytest.mark.parametrize("metric", [L1, PSNR, SSIM])
def test_wrong_shapes_are_bugs(metric):
    with pytest.raises(ValueError, match="shape"):
        metric()(Sample(torch.zeros(3, 16, 16), torch.zeros(3, 16, 17), ""))
    with pytest.raises(ValueError, match="mask has shape"):
        metric(Region.KEPT)(Sample(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), "", region=torch.zeros(16, 16)))


def test_direction_follows_the_damage():
    clean, noisy = images(noise=0.1)
    _, noisier = images(noise=0.4)
    for metric in (L1(), PSNR(), SSIM()):
        better: Metric = metric
        near, far = better(Sample(noisy, clean, "")), better(Sample(noisier, clean, ""))
        assert (near > far) is metric.higher_is_better
