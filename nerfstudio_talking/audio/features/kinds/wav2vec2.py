"""wav2vec 2.0 (Baevski et al., NeurIPS 2020), base, tuned for recognition on 960 hours."""

from __future__ import annotations

from nerfstudio_talking.audio.features.pretrained import PretrainedKind

KINDS = (
    PretrainedKind(
        name="wav2vec2",
        summary="wav2vec 2.0 base, last hidden states at 50 Hz; transformers or torchaudio, 378 MB.",
        channels=768,
        repository="facebook/wav2vec2-base-960h",
        bundle="WAV2VEC2_ASR_BASE_960H",
        megabytes=378,
    ),
)
