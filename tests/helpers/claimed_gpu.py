"""Tensors on the CPU that say that they lie on a GPU, to find what a model leaves on the CPU where there is no GPU.

torch's FakeTensorMode serves this for models whose control flow no value decides; ours ask which frames a batch holds
and which samples lie in empty space. And without a driver torch 2.11 refuses to run backward through fake tensors of
'cuda'. The tensors here have values. Each function of torch is computed on the CPU, and refused where a GPU would
refuse it, since it mixes devices; so losses and gradients are those of the CPU, to the bit.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
_OF_ANY_DEVICE = {Tensor.to, Tensor.copy_, Tensor.type_as, Tensor.new_tensor, Tensor.set_}
"""Functions that take tensors of different devices."""
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__, Tensor.index_put, Tensor.index_put_}
"""Functions of a tensor and indices, which may be on the CPU too."""
_TO_HOST = {Tensor.numpy, Tensor.__array__}
"""Functions that read a tensor's memory."""


class ClaimsGpu(Tensor):
    """A tensor that says it lies on a GPU. `ClaimedGpu` makes them."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The GPU."""
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """True."""
        return True


class ClaimedGpu(TorchFunctionMode):
    """Within its block the device 'cuda' can be used: tensors that are made for it or moved to it say that they are
    there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        refuse_mixed_devices(func, args, kwargs)
        if func is Tensor.cuda:
            func, args, kwargs = Tensor.to, (args[0], CUDA), {}
        claimed = is_result_claimed(func, args, kwargs)
        args, kwargs = (tree_map(on_cpu, x) for x in (args, kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
            if not makes_tensors(func) or not any(isinstance(x, Tensor) for x in tree_leaves(result)):
                return result
            return tree_map(claim if claimed else release, result)


def makes_tensors(func: Any) -> bool:
    """Whether a function may return new tensors, in contrast to changing or reading its argument."""
    name = getattr(func, "__name__", "")
    return not (name.endswith("_") and not name.endswith("__")) and name not in ("__set__", "backward")


def refuse_mixed_devices(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise what a GPU would raise.

    Raises:
        RuntimeError: tensors of both devices take part.
        TypeError: the values of a tensor on the GPU are read as if they were in memory.
    """
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    claimed = [isinstance(x, ClaimsGpu) for x in tensors]
    if not any(claimed) or func in _OF_ANY_DEVICE:
        return
    if func in _TO_HOST:
        raise TypeError("can't convert a tensor on a GPU to numpy; use Tensor.cpu() first")
    if func is Tensor.__setitem__ and not any(isinstance(x, Tensor) for x in tree_leaves(args[1])):
        return  # slices are copied
    if func in _INDEXING and claimed[0]:
        tensors = [x for x in tree_leaves(args[2:]) if isinstance(x, Tensor)]
    if any(not isinstance(x, ClaimsGpu) and x.dim() > 0 for x in tensors):
        devices = ", ".join(f"{tuple(x.shape)} on {'a GPU' if isinstance(x, ClaimsGpu) else 'a CPU'}" for x in tensors)
        raise RuntimeError(f"{resolve_name(func) or func} of tensors on different devices: {devices}")


def is_result_claimed(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a function's tensors lie on the GPU: where a device is named there, else where its arguments lie."""
    if func is Tensor.cpu:
        return False
    named = [x for x in (kwargs.get("device"), *args) if isinstance(x, torch.device)]
    named += [torch.device(x) for x in (kwargs.get("device"), *args[1:2]) if isinstance(x, str) and func is Tensor.to]
    named += [torch.device(x) for x in (kwargs.get("device"),) if isinstance(x, str)]
    if named:
        return named[0].type == "cuda"
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    if func is Tensor.to and len(tensors) == 2:
        return isinstance(tensors[1], ClaimsGpu)
    return any(isinstance(x, ClaimsGpu) for x in tensors)


def on_cpu(value: Any) -> Any:
    """An argument with the GPU's name replaced."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return CPU
    return "cpu" if isinstance(value, str) and value.split(":")[0] == "cuda" else value


def claim(value: Any) -> Any:
    """A tensor as one that says it lies on the GPU; other values as they are."""
    if not isinstance(value, Tensor) or isinstance(value, ClaimsGpu):
        return value
    return value.as_subclass(ClaimsGpu)  # type: ignore[arg-type]


def release(value: Any) -> Any:
    """A tensor as one on the CPU; other values as they are."""
    return value.as_subclass(Tensor) if isinstance(value, ClaimsGpu) else value  # type: ignore[arg-type]


def move_to_claimed_gpu(module: nn.Module) -> None:
    """Claim that parameters and buffers, and nothing else, lie on the GPU: what `module.to("cuda")` moves."""
    moved: dict[Tensor, Tensor] = {}  # a parameter may stand in several places
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                claimed = claim(parameter.detach()).requires_grad_(parameter.requires_grad)
                claimed._is_param = True  # by which torch knows parameters of other classes than its own
                part._parameters[name] = moved.setdefault(parameter, claimed)  # type: ignore[assignment]
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = claim(buffer)


def claim_instead_of_moving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `module.to("cuda")` claim, and random generators of the GPU draw on the CPU, until the test ends."""
    to, generator = nn.Module.to, torch.Generator

    def move(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        if any(torch.device(x).type == "cuda" for x in (*args, *kwargs.values()) if isinstance(x, (str, torch.device))):
            with torch._C.DisableTorchFunction():
                move_to_claimed_gpu(self)
            return self
        return to(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "to", move)
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": generator(on_cpu(device)))
