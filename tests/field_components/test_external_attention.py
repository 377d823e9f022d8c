"""External attention: the torch reference and the fused CPU kernels against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.rounding import assert_within, rounding_bound

from nerfstudio_talking.field_components.kernels import external_attention_numba as kernels
from nerfstudio_talking.field_components.region_saliency import (
    ExternalAttentionSaliency,
    _FusedAttention,
    external_attention,
)

IMPLEMENTATIONS = {"torch": external_attention, "numba": _FusedAttention.apply}
EXP_ERROR = 4
"""Of an exponential of an exact argument, in epsilons: the series of the fused kernel ends with r^6 / 720, which
costs 1.4 epsilons at |r| = ln(2) / 2; its last steps and the argument's reduction cost 1.5. Libraries err by less."""


def reference(query, key, value, grad):
    """The answers, the gradients of the three inputs, and a bound of each, in float32. The logits must be exact.

    In the bounds, an upper case letter is the magnitude of what the lower case letter stands for: the same formula,
    with the absolute value of every term. `of_x` counts the roundings of x.
    """
    tokens, slots = query.shape[1], len(value)
    logits = query @ key  # (points, tokens, slots)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    total = weights.sum(2)
    answer, Answer = (weights @ value) / total, (weights @ np.abs(value)) / total
    of_weights = 2 * EXP_ERROR + (tokens - 1) + 2
    of_slope = of_total = of_weights + slots
    of_answer = of_weights + slots + of_total + 1

    slope = grad / total
    shares, Shares = weights * slope[..., None], weights * np.abs(slope)[..., None]
    apart, Apart = value - answer[..., None], np.abs(value) + Answer[..., None]
    mean, Mean = (shares * apart).sum(1, keepdims=True), (Shares * Apart).sum(1, keepdims=True)
    rows, Rows = shares * apart - weights * mean, Shares * Apart + weights * Mean
    of_shares = of_weights + of_slope + 1
    of_rows = of_weights + (of_shares + of_answer + 2 + tokens) + 2
    # a block of points is summed first, then the blocks
    additions = kernels.BLOCK * tokens + -(-len(query) // kernels.BLOCK)
    results = answer, rows @ key.T, np.einsum("ncq,ncs->qs", query, rows), shares.sum((0, 1))
    bounds = (
        rounding_bound(of_answer, Answer),
        rounding_bound(of_rows + slots, Rows @ np.abs(key.T)),
        rounding_bound(of_rows + additions, np.einsum("ncq,ncs->qs", np.abs(query), Rows)),
        rounding_bound(of_shares + additions, Shares.sum((0, 1))),
    )
    return results, bounds


def check(implementation, query, key, value):
    """Compare an implementation's answers and gradients with the reference."""
    # multiples of 1/16: products and sums of them are exact in 24 bits, in any order
    query, key = (query * 16).round() / 16, (key * 16).round() / 16
    grad = torch.randn(query.shape[:2], generator=torch.Generator().manual_seed(3))
    inputs = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    answer = IMPLEMENTATIONS[implementation](*inputs)
    answer.backward(grad)
    found = answer, *(tensor.grad for tensor in inputs)
    expected, bounds = reference(*(tensor.double().numpy() for tensor in (query, key, value, grad)))
    for i in range(4):
        assert_within(found[i], expected[i], bounds[i])


@pytest.mark.kernel
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("count", [1, 127, 128, 1237])
@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_answer_and_gradients(implementation, count, tokens):
    torch.manual_seed(1)
    check(implementation, torch.randn(count, tokens, 4), torch.randn(4, 8) / 2, torch.randn(8) / 2)


@pytest.mark.kernel
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_great_logits_do_not_overflow(implementation):
    """A softmax is less its greatest logit first: a hundred and more is no overflow, and what vanishes is zero."""
    torch.manual_seed(2)
    query, key, value = 60 * torch.randn(1, 6, 4), torch.randn(4, 8), torch.randn(8)
    assert float((query @ key).abs().max()) > 100
    check(implementation, query, key, value)


def modules(condition_dim):
    torch.manual_seed(1)
    reference = ExternalAttentionSaliency(12, condition_dim, implementation="torch")
    fused = ExternalAttentionSaliency(12, condition_dim, implementation="numba")
    fused.load_state_dict(reference.state_dict())
    return reference, fused


@pytest.mark.parametrize("count", [0, 1, 300])
def test_the_module_asks_the_implementation_of_its_name(count, monkeypatch):
    """What the module makes of the answer is the same, and gradients reach every parameter."""
    calls = []
    kernel = kernels.forward
    monkeypatch.setattr(kernels, "forward", lambda *arrays: (calls.append(arrays), kernel(*arrays)))
    for module, attend, num_calls in zip(modules(7), IMPLEMENTATIONS.values(), (0, 1), strict=True):
        features, condition = torch.randn(count, 12), torch.randn(count, 7)
        calls.clear()
        weighted, saliency = module(features, condition)
        assert len(calls) == num_calls
        query = (module.point_query(features) + module.condition_query(condition)).view(count, 7, 4)
        answer = attend(query, module.memory_key, module.memory_value)
        assert torch.equal(saliency, torch.sigmoid(module.gain * answer + module.direct(features) + module.bias))
        assert torch.equal(weighted, saliency * condition)
        weighted.square().sum().backward()
        assert all(bool(p.grad.abs().max() > 0) == (count > 0) for p in module.parameters())


def test_what_cannot_be_fused_is_left_to_torch():
    """The kernels are of 32 bits: doubles get torch's numbers."""
    reference, fused = modules(3)
    features, condition = torch.randn(20, 12).double(), torch.randn(20, 3).double()
    assert torch.equal(fused.double()(features, condition)[0], reference.double()(features, condition)[0])
