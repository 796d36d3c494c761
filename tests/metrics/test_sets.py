"""FID, KID and CSFID on features made by hand: closed forms, enumeration, and torchmetrics."""

import itertools

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from imagic.core.errors import NotAvailable
from imagic.core.types import Features, SetMetric
from imagic.metrics import kid
from imagic.metrics.csfid import CSFID
from imagic.metrics.fid import FID
from imagic.metrics.kid import KID


def noise(count, dimension, seed):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(count, mean, covariance, seed):
    """Values whose sample mean and covariance (over n - 1) are exactly these."""
    values = noise(count, len(mean), seed)
    values = values - values.mean(0)
    whitening = torch.linalg.inv(torch.linalg.cholesky(values.T @ values / (count - 1)))
    return values @ whitening.T @ torch.linalg.cholesky(covariance).T + mean


def test_fid_of_gaussians_with_equal_axes_is_the_closed_form():
    means = torch.tensor([0.0, 1, 2]).double(), torch.tensor([1.0, 1, 0]).double()
    variances = torch.tensor([1.0, 4, 9]).double(), torch.tensor([4.0, 4, 1]).double()
    x, y = (gaussian(50 + i, mean, var.diag(), i) for i, (mean, var) in enumerate(zip(means, variances, strict=True)))
    expected = (means[0] - means[1]).square().sum() + (variances[0].sqrt() - variances[1].sqrt()).square().sum()
    assert FID()(Features(x), Features(y)) == pytest.approx(expected.item(), abs=1e-9)  # 5 + 1 + 4


def test_fid_of_any_gaussians_equals_the_matrix_square_root():
    x, y = noise(40, 5, 1) @ noise(5, 5, 2) + 3, noise(60, 5, 3) @ noise(5, 5, 4)
    s, t = np.cov(x.numpy(), rowvar=False), np.cov(y.numpy(), rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum().item() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert FID()(Features(x), Features(y)) == pytest.approx(expected, rel=1e-9)
    assert FID()(Features(y), Features(x)) == pytest.approx(expected, rel=1e-9)


def test_fid_with_fewer_images_than_dimensions():
    """Covariances without full rank: what lies in different dimensions shares nothing."""
    x, y = torch.zeros(3, 6).double(), torch.zeros(3, 6).double()
    x[:, 0], y[:, 1] = torch.tensor([-1.0, 0, 1]), torch.tensor([-2.0, 0, 2])
    assert FID()(Features(x), Features(y)) == pytest.approx(1 + 4, abs=1e-12)
    assert FID()(Features(x), Features(2 * x)) == pytest.approx((1 - 2) ** 2, abs=1e-12)
    assert FID()(Features(noise(4, 30, 5)), Features(noise(4, 30, 5))) == pytest.approx(0, abs=1e-9)


def test_a_shift_of_one_set_is_its_squared_length():
    x, shift = noise(20, 4, 6), torch.tensor([3.0, 0, 4, 0]).double()
    groups = ["a", "b"] * 10
    assert FID()(Features(x + shift), Features(x)) == pytest.approx(25, abs=1e-9)
    assert CSFID()(Features(x + shift, groups), Features(x, groups)) == pytest.approx(25, abs=1e-9)


class Means(torch.nn.Module):
    """A feature extractor for the oracle: images of 2 x 1 pixels, whose six values are the features."""

    num_features = 6

    def forward(self, images):
        return images.flatten(1).float()


def levels(count, seed):
    """Features in 0..255 as 8-bit images (N, 3, 2, 1), which is what torchmetrics takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 2, 1), generator=generator, dtype=torch.uint8)


def test_fid_equals_torchmetrics():
    x, y = levels(40, 1), levels(50, 2) // 2
    oracle = FrechetInceptionDistance(feature=Means(), input_img_size=(3, 2, 1))
    oracle.update(y, real=True)
    oracle.update(x, real=False)
    found = FID()(Features(x.flatten(1).double()), Features(y.flatten(1).double()))
    assert found == pytest.approx(oracle.compute().item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_kid_equals_torchmetrics_when_its_subset_is_everything():
    x, y = levels(30, 1), levels(30, 2) // 2
    oracle = KernelInceptionDistance(feature=Means(), subsets=1, subset_size=30)
    oracle.update(y, real=True)
    oracle.update(x, real=False)
    found = KID()(Features(x.flatten(1).double()), Features(y.flatten(1).double()))
    assert found == pytest.approx(oracle.compute()[0].item(), rel=1e-4)


def test_kid_is_unbiased():
    """The mean of the estimate over every pair of samples that two small distributions can give is the true MMD^2."""
    p, q = noise(3, 2, 7), noise(2, 2, 8) + 1

    def kernel(a, b):
        return (a @ b / 2 + 1) ** 3

    def mean(a, b):
        return sum(kernel(u, v) for u in a for v in b) / (len(a) * len(b))

    true = mean(p, p) + mean(q, q) - 2 * mean(p, q)
    xs = [torch.stack(rows) for rows in itertools.product(p, repeat=3)]
    ys = [torch.stack(rows) for rows in itertools.product(q, repeat=2)]
    estimates = [KID()(Features(x), Features(y)) for x in xs for y in ys]
    assert sum(estimates) / len(estimates) == pytest.approx(true.item(), rel=1e-10)
    assert min(estimates) < 0 < true  # an unbiased estimate may be negative; a biased one could not


def test_kid_does_not_depend_on_how_the_kernel_is_cut(monkeypatch):
    x, y = Features(noise(23, 4, 9)), Features(noise(17, 4, 10))
    whole = KID()(x, y)
    monkeypatch.setattr(kid, "BLOCK", 5)
    assert KID()(x, y) == pytest.approx(whole, rel=1e-12)


def test_csfid_is_the_mean_over_classes_of_the_distance_of_means():
    images = Features(torch.tensor([[0.0, 0], [2, 0], [5, 5]]).double(), ["cat", "cat", "dog"])
    references = Features(torch.tensor([[5.0, 1], [1, 3], [9, 9]]).double(), ["dog", "cat", "fox"])
    assert CSFID()(images, references) == pytest.approx(((0 + 9) + (0 + 16)) / 2)


def test_csfid_sees_what_fid_cannot():
    """Two classes that changed places: the set is the same, each class is not."""
    values = torch.tensor([[0.0, 0], [0, 1], [4, 0], [4, 1]]).double()
    images, references = Features(values, ["a", "a", "b", "b"]), Features(values, ["b", "b", "a", "a"])
    assert FID()(images, references) == pytest.approx(0, abs=1e-9)
    assert CSFID()(images, references) == pytest.approx(16)


@pytest.mark.parametrize("metric", [FID, KID, CSFID])
def test_direction_follows_the_damage(metric):
    made: SetMetric = metric()
    x, groups = noise(20, 3, 11), ["a", "b"] * 10
    near, far = (made(Features(x + shift, groups), Features(x, groups)) for shift in (0.1, 1.0))
    assert (near > far) is made.higher_is_better


def test_what_they_cannot_answer():
    one, two = Features(noise(1, 3, 1), ["a"]), Features(noise(2, 3, 2), ["a", "b"])
    for metric in (FID(), KID()):
        for pair in ((one, two), (two, one)):
            with pytest.raises(NotAvailable, match="at least two images"):
                metric(*pair)
    with pytest.raises(NotAvailable, match="no reference image of the class 'b'"):
        CSFID()(two, one)
    with pytest.raises(NotAvailable, match="the class of each image"):
        CSFID()(Features(two.values), two)
