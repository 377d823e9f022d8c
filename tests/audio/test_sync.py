from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.paths import needs_clips, shared_file
from helpers.voices import FPS, late, speech

from nerfstudio_talking.audio.sync import OffsetEstimate, estimate_offset, sync_score


@pytest.mark.parametrize("shift", [-7, -2, 0, 3, 9])
def test_known_shift_is_found(shift: int) -> None:
    lips, samples = speech(10, seed=1)
    estimate = estimate_offset(lips, late(samples, shift), FPS)
    assert estimate.significant
    assert estimate.lag_frames == pytest.approx(shift, abs=0.6)
    assert estimate.frames == shift
    assert estimate.score > 0.6
    assert estimate.score_in_place == estimate.curve[12] and len(estimate.curve) == 25


def test_other_frame_rates() -> None:
    lips, samples = speech(10, seed=2, fps=30)
    assert estimate_offset(lips, late(samples, 4, 30), 30).frames == 4


def test_long_clips_use_their_middle() -> None:
    lips, samples = speech(40, seed=3)
    lips[:120] = lips[-120:] = 0.3  # outside the middle 750
    assert estimate_offset(lips, late(samples, -3), FPS).frames == -3


def test_swapped_audio_is_chance() -> None:
    lips, own = speech(12, seed=4)
    other = speech(12, seed=5)[1]
    right, wrong = sync_score(lips, own, FPS), sync_score(lips, other, FPS)
    assert right.score > 2 * right.null_max
    assert wrong.score < 0.5 * right.score
    assert wrong.score < 1.5 * wrong.null_max
    assert right.null_mean < right.null_max


def test_unseen_lips_are_bridged() -> None:
    lips, samples = speech(14, seed=6)
    holes = lips.copy()
    holes[40:70] = holes[200:203] = np.nan
    estimate = estimate_offset(holes, late(samples, 2), FPS)
    assert estimate.frames == 2 and np.isfinite(estimate.curve).all()


@pytest.mark.parametrize("case", ["short", "still", "unseen", "silent"])
def test_nothing_can_be_said(case: str) -> None:
    lips, samples = speech(8, seed=7)
    if case == "short":
        lips = lips[:30]
    elif case == "still":
        lips = np.full_like(lips, 0.2)
    elif case == "unseen":
        lips = np.full_like(lips, np.nan)
    else:
        samples = np.zeros_like(samples)
    estimate = estimate_offset(lips, samples, FPS)
    assert np.isnan(estimate.score) and not estimate.significant and estimate.frames == 0


@pytest.mark.parametrize("num_frames", [50, 75, 125, 200])
def test_short_clips_have_too_few_shifts_to_compare_with(num_frames: int) -> None:
    lips, samples = speech(num_frames / FPS, seed=9)
    estimate = estimate_offset(lips, late(samples, 3), FPS)
    assert estimate.null_size < 20 and np.isnan(estimate.null_max)
    assert np.isfinite(estimate.score) and not estimate.significant and estimate.frames == 0


def test_false_alarms_are_rare() -> None:
    """Lips with the audio of another moment, 250 frames each: with 26 shifts, chance alone would give 1 in 27."""
    found = []
    for seed in range(24):
        lips, _ = speech(10, seed=100 + seed)
        _, samples = speech(10, seed=200 + seed)
        estimate = estimate_offset(lips, samples, FPS)
        assert estimate.null_size >= 20
        found.append(estimate.significant)
    assert sum(found) <= 3


def test_swapped_arguments_are_noticed() -> None:
    lips, samples = speech(8, seed=8)
    with pytest.raises(ValueError, match="lips"):
        estimate_offset(samples, lips, FPS)


def test_a_peak_at_the_end_of_the_sweep_is_no_finding() -> None:
    lags = np.arange(-2, 3)
    curve = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    estimate = OffsetEstimate(1.8, 0.5, 0.3, 0.2, 0.1, 40, lags, curve, np.full(3, 2))
    assert not estimate.significant and estimate.frames == 0


@pytest.mark.parametrize(
    ("score", "parts", "found"),
    [(0.36, (1, 0, 4), True), (0.33, (1, 1, 1), False), (0.5, (1, -3, -3), False), (0.5, (1, 12, -2), True)],
)
def test_a_peak_is_well_above_chance_and_found_again_in_two_thirds_of_the_clip(score, parts, found) -> None:
    """The null's greatest score is 0.3, the peak at a lag of 1."""
    lags = np.arange(-2, 3)
    curve = np.array([0.1, 0.1, 0.2, score, 0.1])
    assert OffsetEstimate(1.0, score, 0.1, 0.3, 0.1, 40, lags, curve, np.array(parts)).significant == found


def lip_curve(path: Path) -> np.ndarray:
    from mediapipe.python.solutions import face_mesh

    from nerfstudio_talking.media.reading import read_frames

    gaps = []
    with face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1) as tracker:
        for frame in read_frames(path, stop=300):
            found = tracker.process(frame).multi_face_landmarks
            points = np.array([(p.x, p.y) for p in found[0].landmark]) if found else np.full((478, 2), np.nan)
            eyes = np.linalg.norm(points[33] - points[263])
            gaps.append(np.linalg.norm(points[13] - points[14]) / eyes)
    return np.array(gaps)


@needs_clips("clips/obama.mp4", "clips/obama_audio_late.mp4", "clips/man_kitchen.mp4")
def test_real_clips() -> None:
    from nerfstudio_talking.media.reading import read_audio

    lips = lip_curve(shared_file("clips/obama.mp4"))
    own = estimate_offset(lips, read_audio(shared_file("clips/obama.mp4")), FPS)
    assert own.significant and abs(own.lag_frames) <= 1
    assert own.score > 0.5 > 0.4 > own.null_max
    # the images are the same ones; its audio was not moved
    found = estimate_offset(lips, read_audio(shared_file("clips/obama_audio_late.mp4")), FPS)
    assert found.significant and 5 <= found.lag_frames <= 6
    swapped = read_audio(shared_file("clips/man_kitchen.mp4"))
    assert not estimate_offset(lips, swapped, FPS).significant
