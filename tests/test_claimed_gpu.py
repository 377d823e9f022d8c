"""The tensors that claim to lie on a GPU: what they refuse and allow is what a GPU would."""

from __future__ import annotations

import pytest
import torch
from helpers.claimed_gpu import ClaimedGpu, ClaimsGpu, claim_instead_of_moving, move_to_claimed_gpu
from torch import Tensor, nn

REFUSED = {
    "sum": lambda there, here: there + here,
    "in place": lambda there, here: here.add_(there),
    "function": lambda there, here: torch.nn.functional.mse_loss(there, here),
    "list": lambda there, here: torch.cat([there, here]),
    "keyword": lambda there, here: torch.where(there > 0, there, other=here),
    "index of a tensor in memory": lambda there, here: here[there.long()],
    "value by indices": lambda there, here: there.__setitem__(there > 0, here),
    "new tensor": lambda there, here: torch.zeros(3) + there,
    "numpy": lambda there, here: there.numpy(),
    "array": lambda there, here: torch.from_numpy(there.__array__()),
}
ALLOWED = {
    "scalar": lambda there, here: there * torch.tensor(2.0),
    "index in memory": lambda there, here: there[here.long()],
    "value by slices": lambda there, here: there.__setitem__(slice(1), here[:1]),
    "copy": lambda there, here: there.copy_(here),
    "moved": lambda there, here: there + here.to("cuda:0") + here.cuda() + here.to(there) + here.to(there.device),
    "moved back": lambda there, here: here + there.cpu() + there.to("cpu") + there.to(here),
    "made there": lambda there, here: there + torch.zeros(3, device="cuda") + torch.zeros_like(there),
    "named": lambda there, here: there + torch.arange(3, device=torch.device("cuda")),
    "numpy": lambda there, here: there.cpu().numpy(),
}


@pytest.fixture
def pair():
    with ClaimedGpu():
        yield torch.ones(3).to("cuda"), torch.ones(3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gpu_refuses(pair, name):
    with pytest.raises((RuntimeError, TypeError), match=r"on different devices|numpy"):
        REFUSED[name](*pair)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_gpu_allows(pair, name):
    ALLOWED[name](*pair)


def test_results_lie_where_a_gpu_would_put_them(pair):
    there, here = pair
    on_gpu = [there * 2, there.double(), there.split(1)[0], there.max(0).values, torch.unique(there), there.detach()]
    on_gpu += [here.to(there), there.new_zeros(2), torch.rand(2, device=there.device), there.view(3, 1).expand(3, 2)]
    assert all(isinstance(x, ClaimsGpu) and x.device.type == "cuda" and x.is_cuda for x in on_gpu)
    in_memory = [here * 2, there.cpu(), there.to(here), torch.zeros_like(there, device="cpu"), here.copy_(there)]
    assert not any(isinstance(x, ClaimsGpu) or x.is_cuda for x in in_memory)
    assert there.shape == torch.Size([3]) and isinstance(there.shape, torch.Size)


class _Forgetful(nn.Module):
    """Keeps one tensor that no `to` moves."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("kept", torch.ones(3))
        self.forgotten = torch.ones(3)

    def forward(self, x: Tensor, everything: bool) -> Tensor:
        return self.linear(x) * self.kept * (self.forgotten if everything else 1.0)


def test_a_tensor_that_a_module_forgets_is_found(monkeypatch):
    claim_instead_of_moving(monkeypatch)
    with ClaimedGpu():
        module = _Forgetful().to("cuda")
        module(torch.ones(2, 3, device="cuda"), everything=False)
        with pytest.raises(RuntimeError, match="on different devices"):
            module(torch.ones(2, 3, device="cuda"), everything=True)


def test_gradients_are_those_of_the_cpu():
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.rand(5, 3)
    module(x).sum().backward()
    expected = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    move_to_claimed_gpu(module)
    assert all(isinstance(parameter, nn.Parameter) and parameter.is_leaf for parameter in module.parameters())
    with ClaimedGpu():
        module(x.to("cuda")).sum().backward()
    torch.testing.assert_close([parameter.grad for parameter in module.parameters()], expected, rtol=0, atol=0)
    assert len(expected) == 4
