"""DeepSpeech: ready-made arrays of other programs."""

from __future__ import annotations

from nerfstudio_talking.audio.features.kind import FeatureKind

KINDS = (
    FeatureKind(
        name="deepspeech",
        summary="DeepSpeech logits, as AD-NeRF and ER-NeRF extract them.",
        window=16,
        channels=29,
        array_names=("aud_ds.npy", "aud.npy"),
    ),
)
