"""Bundles of text tensors: exact ends, learnable names only, batches."""

from __future__ import annotations

import pytest
import torch

from imagic.core.conditioning import GUIDANCE, Conditioning


def bundle(rows: int, seed: int) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        {
            "sequence": torch.randn(rows, 3, 4, generator=generator),
            "ids": torch.randint(9, (rows, 2), generator=generator),
        },
        learnable=frozenset({"sequence"}),
    )


def test_lerp_is_exact_at_both_ends_and_linear_between() -> None:
    a, b = bundle(2, 0), bundle(2, 1)
    assert torch.equal(a.lerp(b, 0).tensors["sequence"], a.tensors["sequence"])
    assert torch.equal(a.lerp(b, 1).tensors["sequence"], b.tensors["sequence"])
    expected = torch.lerp(a.tensors["sequence"], b.tensors["sequence"], 0.3)
    assert torch.allclose(a.lerp(b, 0.3).tensors["sequence"], expected, atol=1e-6)
    assert torch.equal(a.lerp(b, 0.3).tensors["ids"], a.tensors["ids"])  # not learnable: a fact of the first


def test_lerp_with_one_weight_per_row_broadcasts_single_rows() -> None:
    a, b = bundle(1, 0), bundle(1, 1)
    swept = a.lerp(b, torch.tensor([0.0, 0.5, 1.0, 1.5]))
    assert len(swept) == 4
    for row, weight in enumerate((0.0, 0.5, 1.0, 1.5)):
        expected = a.lerp(b, weight)
        assert torch.equal(swept[row : row + 1].tensors["sequence"], expected.tensors["sequence"])


def test_tokens_of_zeros_fill_up_the_shorter_of_two() -> None:
    def row(length: int, seed: int) -> Conditioning:
        generator = torch.Generator().manual_seed(seed)
        tensors = {"sequence": torch.randn(1, length, 4, generator=generator), "pooled": torch.ones(1, 4)}
        return Conditioning(tensors, learnable=frozenset(tensors))

    short, long = row(2, 0), row(5, 1)
    a, b = short.tensors["sequence"], long.tensors["sequence"]
    for first, second, weight in ((short, long, 0.3), (long, short, 0.7)):
        mixed = first.lerp(second, weight).tensors["sequence"]
        assert torch.allclose(mixed[:, :2], 0.7 * a + 0.3 * b[:, :2], atol=1e-6)
        assert torch.allclose(mixed[:, 2:], 0.3 * b[:, 2:], atol=1e-6)
    assert torch.equal(long.lerp(short, torch.tensor([1.0, 0.0])).tensors["sequence"][1], b[0])
    joined = Conditioning.cat([short, long]).tensors
    assert torch.equal(joined["sequence"][0, :2], a[0])
    assert not joined["sequence"][0, 2:].any()
    assert torch.equal(joined["sequence"][1:], b)
    assert torch.equal(joined["pooled"], torch.ones(2, 4))


def test_trainable_makes_new_leaves_of_the_learnable_tensors_alone() -> None:
    original = bundle(1, 0)
    leaf = original.trainable()
    assert list(leaf.parameters()) == ["sequence"]
    leaf.parameters()["sequence"].sum().backward()
    assert leaf.tensors["sequence"].grad is not None
    assert not original.tensors["sequence"].requires_grad
    assert leaf.tensors["sequence"].data_ptr() != original.tensors["sequence"].data_ptr()
    assert not leaf.detach().tensors["sequence"].requires_grad


def test_cat_index_and_expand() -> None:
    a, b = bundle(1, 0), bundle(2, 1)
    joined = Conditioning.cat([a, b])
    assert len(joined) == 3
    assert joined.learnable == a.learnable
    assert torch.equal(joined[1:].tensors["ids"], b.tensors["ids"])
    picked = joined[torch.tensor([2, 0])]
    assert torch.equal(picked.tensors["sequence"][1], a.tensors["sequence"][0])
    assert torch.equal(a.expand(3).tensors["sequence"][2], a.tensors["sequence"][0])
    with pytest.raises(ValueError):
        b.expand(3)


def test_to_casts_floats_and_keeps_integers() -> None:
    moved = bundle(1, 0).to("cpu", torch.float16)
    assert moved.tensors["sequence"].dtype == torch.float16
    assert moved.tensors["ids"].dtype == torch.int64


def test_guidance_is_set_for_all_rows_and_nothing_else_changes() -> None:
    bundle = Conditioning({"sequence": torch.randn(2, 3, 4), GUIDANCE: torch.ones(2)}, frozenset({"sequence"}))
    guided = bundle.guided(torch.full((2,), 3.5))
    assert torch.equal(guided.tensors[GUIDANCE], torch.full((2,), 3.5))
    assert guided.tensors["sequence"] is bundle.tensors["sequence"]
    assert guided.learnable == bundle.learnable
    assert torch.equal(bundle.tensors[GUIDANCE], torch.ones(2))


def test_inconsistent_bundles_are_refused() -> None:
    with pytest.raises(ValueError):
        Conditioning({"a": torch.ones(1, 2), "b": torch.ones(2, 2)})
    with pytest.raises(ValueError):
        Conditioning({"a": torch.ones(1, 2)}, learnable=frozenset({"b"}))


def test_a_bundle_cannot_be_changed_behind_its_back() -> None:
    tensors = {"a": torch.ones(1, 2)}
    made = Conditioning(tensors)
    tensors["b"] = torch.ones(3)
    assert list(made.tensors) == ["a"]
    with pytest.raises(TypeError):
        made.tensors["c"] = torch.ones(1)  # type: ignore[index]
