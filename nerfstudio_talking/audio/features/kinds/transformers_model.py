"""Any speech model that transformers reads, by folder or hub name."""

from __future__ import annotations

from nerfstudio_talking.audio.features.pretrained import PretrainedKind

KINDS = (
    PretrainedKind(
        name="transformers",
        summary="Last hidden states at 50 Hz of a model that transformers reads, by folder or hub name.",
        channels=None,
        takes_any_name=True,
    ),
)
