"""Esperanto: ready-made arrays of other programs."""

from __future__ import annotations

from nerfstudio_talking.audio.features.kind import FeatureKind

KINDS = (
    FeatureKind(
        name="esperanto",
        summary="Logits of wav2vec 2.0 with an Esperanto vocabulary, as RAD-NeRF extracts them.",
        window=16,
        channels=44,
        array_names=("aud_eo.npy",),
    ),
)
