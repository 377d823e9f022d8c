"""A speech model that needs no library and no weights."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nerfstudio_talking.audio.features import pretrained


class FakeModel(torch.nn.Module):
    """Mean and slope of each row's field of 400 samples every 320, as wav2vec 2.0 lays its rows."""

    def forward(self, audio: torch.Tensor) -> types.SimpleNamespace:
        rows = audio.unfold(1, 400, 320)
        centre = torch.linspace(-1, 1, 400)
        hidden = torch.stack([rows.abs().mean(-1), (rows * centre).mean(-1)], dim=-1)
        return types.SimpleNamespace(last_hidden_state=hidden)


def fake_transformers(monkeypatch: pytest.MonkeyPatch, loader: Callable[[str], Any]) -> None:
    """transformers whose AutoModel loads with `loader`."""
    module = types.ModuleType("transformers")
    module.AutoModel = types.SimpleNamespace(from_pretrained=loader)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: name == "transformers" or None)
