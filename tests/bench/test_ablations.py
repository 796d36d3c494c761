import pytest
import torch

from imagic.bench.ablations import EXPERIMENTS, experiment
from imagic.bench.baselines.diffedit_no_encode import DiffEditNoEncode
from imagic.bench.catalogue import entries
from imagic.core.errors import OptionError
from imagic.core.options import build_options
from imagic.core.types import Ability, FitRequest
from imagic.methods.diffedit import DiffEdit
from imagic.methods.encode_decode import EncodeDecode
from imagic.methods.sdedit import SDEdit
from tests.bench.fakes import FakeBackbone, drain


class Invertible(FakeBackbone):
    abilities = frozenset({Ability.GUIDANCE, Ability.INVERSION})


def edited(method, mask, seed=3, **options):
    """A half dark picture and its result. mask: (1, 16, 16), or None for a method without one."""
    image = torch.cat([torch.full((1, 3, 8, 16), -0.4), torch.full((1, 3, 8, 16), 0.1)], dim=2)
    request = FitRequest(image, "4", seed=seed, mask=mask)
    _, state = drain(method.fit(Invertible(), request, build_options(method.FitOptions, {})))
    options = build_options(method.EditOptions, {"strength": 0.6, "guidance_scale": 2.0, **options})
    return image[0], drain(method.edit(Invertible(), state, options, [seed]))[1].chosen[0].image


def test_without_encoding_and_with_a_mask_of_everything_it_is_sdedit():
    _, found = edited(DiffEditNoEncode(), torch.ones(1, 16, 16))
    _, expected = edited(SDEdit(), None)
    assert torch.allclose(found, expected, atol=1e-5)
    _, encoded = edited(DiffEdit(), torch.ones(1, 16, 16))
    assert not torch.allclose(found, encoded, atol=1e-2)


def test_without_encoding_what_lies_outside_the_mask_is_still_the_input():
    mask = torch.zeros(1, 16, 16)
    mask[:, :8] = 1
    source, found = edited(DiffEditNoEncode(), mask)
    assert torch.equal(found[:, 8:], Invertible().decode(source)[:, 8:])
    assert not torch.allclose(found[:, :8], Invertible().decode(source)[:, :8], atol=1e-2)


def test_without_a_mask_it_is_encode_decode_with_diffedits_defaults():
    whole, without = entries(experiment("diffedit-no-mask"))
    assert isinstance(without.method, EncodeDecode)
    for kind in ("FitOptions", "EditOptions"):
        ours, theirs = (build_options(getattr(each.method, kind), {}) for each in (without, whole))
        shared = set(vars(ours)) & set(vars(theirs))
        assert shared
        assert {name: getattr(ours, name) for name in shared} == {name: getattr(theirs, name) for name in shared}


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_names_methods_that_are_there(name):
    made = entries(experiment(name))
    assert len({each.label for each in made}) == len(EXPERIMENTS[name]) >= 2


def test_an_unknown_experiment_lists_those_that_are_there():
    with pytest.raises(OptionError, match="choose one of imagic-no-finetune, imagic-embedding-steps, diffedit-no-mask"):
        experiment("imagik")
