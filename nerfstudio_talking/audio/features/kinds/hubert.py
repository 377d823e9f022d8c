"""HuBERT (Hsu et al., IEEE/ACM TASLP 2021), base and large, and ER-NeRF's ready-made arrays of it."""

from __future__ import annotations

from nerfstudio_talking.audio.features.kind import FeatureKind
from nerfstudio_talking.audio.features.pretrained import PretrainedKind

KINDS = (
    PretrainedKind(
        name="hubert",
        summary="HuBERT base, last hidden states at 50 Hz; transformers or torchaudio, 378 MB.",
        channels=768,
        repository="facebook/hubert-base-ls960",
        bundle="HUBERT_BASE",
        megabytes=378,
    ),
    PretrainedKind(
        name="hubert-large",
        summary="HuBERT large, last hidden states at 50 Hz; transformers or torchaudio, 1262 MB.",
        channels=1024,
        repository="facebook/hubert-large-ls960-ft",
        bundle="HUBERT_ASR_LARGE",
        megabytes=1262,
    ),
    FeatureKind(
        name="hubert-array",  # not normalised as ours: a voice's own features must come as an array, too
        summary="HuBERT large as ER-NeRF extracts it.",
        window=2,
        channels=1024,
        array_names=("aud_hu.npy",),
    ),
)
