import pytest
import torch

from nerfstudio_talking.field_components.region_saliency import ExternalAttentionSaliency


def modules(condition_dim):
    torch.manual_seed(1)
    reference = ExternalAttentionSaliency(12, condition_dim, implementation="torch")
    fused = ExternalAttentionSaliency(12, condition_dim, implementation="numba")
    fused.load_state_dict(reference.state_dict())
    return reference, fused


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
    torch.manual_seed(2)
    query, key, value = 60 * torch.randn(6, 4), torch.randn(4, 8), torch.randn(8)
    reference, fused = modules(6)
    answers = []
    for module in (reference, fused):
        with torch.no_grad():
            module.point_query.weight.zero_()
            module.point_query.bias.copy_(query.flatten())
            module.condition_query.weight.zero_()
            module.memory_key.copy_(key)
            module.memory_value.copy_(value)
        answers.append(module(torch.zeros(1, 12), torch.zeros(1, 6))[1])
    assert float((query @ key).abs().max()) > 100
    torch.testing.assert_close(answers[1], answers[0], rtol=0, atol=1e-5)


def test_what_cannot_be_fused_is_left_to_torch():
    """The kernels are of 32 bits: doubles get torch's numbers."""
    reference, fused = modules(3)
    features, condition = torch.randn(20, 12).double(), torch.randn(20, 3).double()
    assert torch.equal(fused.double()(features, condition)[0], reference.double()(features, condition)[0])
