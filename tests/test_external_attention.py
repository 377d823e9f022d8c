import numpy as np
import pytest
import torch
from scipy.special import softmax

from nerfstudio_talking.field_components.region_saliency import ExternalAttentionSaliency, external_attention


def tensors(count, tokens, slots, scale=1.0, dtype=torch.float32):
    torch.manual_seed(count + tokens)
    query = scale * torch.randn(count, tokens, 4, dtype=dtype)
    return query, torch.randn(4, slots, dtype=dtype), torch.randn(slots, dtype=dtype)


def modules(condition_dim):
    torch.manual_seed(1)
    reference = ExternalAttentionSaliency(12, condition_dim, implementation="torch")
    fused = ExternalAttentionSaliency(12, condition_dim, implementation="numba")
    fused.load_state_dict(reference.state_dict())
    return reference, fused


def test_attention_is_guos_double_normalisation():
    query, key, value = tensors(9, 5, 8, dtype=torch.float64)
    attention = softmax(np.einsum("ncq,qs->ncs", query.numpy(), key.numpy()), axis=1)
    expected = (attention / attention.sum(2, keepdims=True)) @ value.numpy()
    np.testing.assert_allclose(external_attention(query, key, value).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("count", [0, 1, 127, 128, 1237])
@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_fused_equals_torch_forward_and_backward(count, tokens):
    reference, fused = modules(tokens)
    features, condition = torch.randn(count, 12), torch.randn(count, tokens)
    found = []
    for module in (fused, reference.double()):
        dtype = module.gain.dtype
        inputs = [x.to(dtype, copy=True).requires_grad_() for x in (features, condition)]
        weighted, saliency = module(*inputs)
        (weighted.square().sum() + saliency.sin().sum()).backward()
        found.append([weighted, saliency, *(x.grad for x in inputs), *(p.grad for p in module.parameters())])
    for mine, theirs in zip(*found, strict=True):
        scale = float(theirs.abs().max()) if theirs.numel() else 1.0
        torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=2e-5 * max(scale, 0.05))


def test_fused_survives_great_logits():
    """A softmax is less its greatest logit first: a hundred and more is no overflow, and what vanishes is zero."""
    query, key, value = tensors(300, 6, 8, scale=60.0)
    reference, fused = modules(6)
    answers = []
    for module in (reference, fused):
        with torch.no_grad():
            module.point_query.weight.zero_()
            module.point_query.bias.copy_(query[0].flatten())
            module.condition_query.weight.zero_()
            module.memory_key.copy_(key)
            module.memory_value.copy_(value)
        answers.append(module(torch.zeros(1, 12), torch.zeros(1, 6))[1])
    assert float((query[0] @ key).abs().max()) > 100
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-5)


def test_what_cannot_be_fused_is_left_to_torch():
    """The kernels are of 32 bits: doubles get torch's numbers."""
    reference, fused = modules(3)
    features, condition = torch.randn(20, 12).double(), torch.randn(20, 3).double()
    assert torch.equal(fused.double()(features, condition)[0], reference.double()(features, condition)[0])
