"""AVE: ready-made arrays of other programs."""

from __future__ import annotations

from nerfstudio_talking.audio.features.kind import FeatureKind

KINDS = (
    FeatureKind(
        name="ave",
        summary="SyncTalk's audio-visual encoder, one vector per frame.",
        window=1,
        channels=512,
        array_names=("aud_ave.npy",),
    ),
)
