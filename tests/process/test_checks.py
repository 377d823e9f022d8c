"""Checks of a clip, on made-up clips with known faults and on a real cut."""

from itertools import islice

import numpy as np
import pytest
from helpers.paths import needs_clips, shared_file

from nerfstudio_talking.face.tracking import track_faces
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_frames
from nerfstudio_talking.process import checks


def moving_clip(frames=80, speed=0.4, seed=0):
    """Thumbnails of a soft pattern that drifts, and landmarks that drift with it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] / 64.0
    position = np.cumsum(speed * rng.normal(size=frames))
    pattern = [127 + 60 * np.sin(6 * x + 0.1 * p) * np.cos(5 * y) for p in position]
    thumbnails = np.repeat(np.array(pattern)[..., None], 3, axis=-1) + rng.normal(size=(frames, 64, 64, 3))
    points = rng.uniform(100, 200, size=(478, 2)) + position[:, None, None]
    return thumbnails.clip(0, 255).astype(np.uint8), points.astype(np.float32)


def test_a_lost_body_is_reported():
    seen = np.ones(50, bool)
    seen[:5] = False
    assert checks.body_findings(seen) == []
    seen[5] = False
    (finding,) = checks.body_findings(seen)
    assert finding.code == "body-lost" and "6 of 50" in finding.message
    assert "at rest" in checks.body_findings(np.zeros(50, bool))[0].message


def test_a_steady_clip_has_no_cut():
    assert checks.find_cuts(*moving_clip()) == []


def test_a_jump_within_one_scene_is_a_cut():
    thumbnails, points = moving_clip()
    thumbnails[33:] = np.roll(thumbnails[33:], 9, axis=2)
    points[33:] += 20.0
    assert checks.find_cuts(thumbnails, points) == [33]


def test_another_scene_is_a_cut_without_a_face_too():
    thumbnails, points = moving_clip()
    thumbnails[50:] = 255 - thumbnails[50:] // 2
    points[:] = np.nan
    assert checks.find_cuts(thumbnails, points) == [50]


def test_fast_motion_over_several_frames_is_no_cut():
    thumbnails, points = moving_clip()
    for frame in range(40, 45):
        thumbnails[frame:] = np.roll(thumbnails[frame:], 2, axis=2)
        points[frame:] += 6.0
    assert checks.find_cuts(thumbnails, points) == []


def test_ranges_between_cuts():
    assert checks.usable_ranges(300, [100, 120]) == [(0, 100), (120, 300)]
    assert checks.usable_ranges(40, [10]) == [(10, 40)]  # none is long enough: the longest


def test_a_cut_stops_and_names_ranges_in_source_frames():
    with pytest.raises(TalkingError) as caught:
        checks.require_no_cuts("clip.mp4", [100], 200, offset=30)
    message = str(caught.value)
    assert "clip.mp4" in message
    assert "--frames 30:130, --frames 130:230" in message
    assert "at frame 130" in message
    checks.require_no_cuts("clip.mp4", [], 200)


def test_repeated_frames_are_found_and_reported():
    thumbnails, _ = moving_clip()
    thumbnails[[10, 20, 21, 30]] = thumbnails[[9, 19, 19, 29]]
    repeats = checks.duplicate_frames(thumbnails)
    assert np.flatnonzero(repeats).tolist() == [10, 20, 21, 30]
    (finding,) = checks.timing_findings(thumbnails, 25.0, None, 25.0)
    assert finding.code == "duplicate-frames"
    assert "4 of 80" in finding.message


def test_a_conversion_is_reported_with_the_true_rate():
    thumbnails, _ = moving_clip(frames=50)
    shown = np.floor(np.arange(120) * 25 / 60).astype(int)
    (finding,) = checks.timing_findings(thumbnails[shown], 60.0, np.arange(120) / 60, 60.0)
    assert "from 25 to 60" in finding.message and "--fps 25" in finding.message


def test_variable_frame_rate_is_reported():
    thumbnails, _ = moving_clip(frames=100)
    even = np.arange(100) / 30
    assert checks.timing_findings(thumbnails, 30.0, even, 30.0) == []
    uneven = even + np.where(np.arange(100) % 10 == 0, 0.02, 0.0)
    (finding,) = checks.timing_findings(thumbnails, 30.0, uneven, 30.0)
    assert finding.code == "variable-frame-rate"


def test_dropped_frames_are_no_conversion():
    thumbnails, _ = moving_clip(frames=100)
    kept = np.array([n for n in range(100) if n % 5 != 3])
    shown = kept[np.searchsorted(kept, np.arange(100), side="right") - 1]
    (finding,) = checks.timing_findings(thumbnails[shown], 25.0, kept / 25, 25.0)
    assert finding.code == "variable-frame-rate"


def test_faces_that_lie_or_stand_on_their_head_stop():
    checks.require_upright("clip.mp4", 0, 0)
    with pytest.raises(TalkingError, match=r"upside down.*--rotate 180"):
        checks.require_upright("clip.mp4", 180, 0)
    with pytest.raises(TalkingError, match=r"on their side.*--rotate 0"):
        checks.require_upright("clip.mp4", 270, 90)


def test_no_face_stops_and_lost_faces_warn():
    with pytest.raises(TalkingError, match="found no face"):
        checks.require_faces("clip.mp4", np.zeros(20, bool))
    with pytest.raises(TalkingError, match="5 of 20"):
        checks.require_faces("clip.mp4", np.arange(20) < 5)
    (finding,) = checks.require_faces("clip.mp4", np.arange(20) != 7)
    assert finding.code == "face-lost"
    assert "first: 7" in finding.message
    assert checks.require_faces("clip.mp4", np.ones(20, bool)) == []


def test_several_and_small_faces_warn():
    points = np.zeros((10, 478, 2))
    points[:, :, 0] = np.linspace(100, 160, 478)
    codes = [f.code for f in checks.face_findings(points, np.array([1, 2, 2, 1, 3]))]
    assert codes == ["small-face", "several-faces"]
    assert checks.face_findings(points * 4, np.array([1, 1, 1, 2, 1])) == []


def test_silence_stops_and_quiet_audio_warns():
    assert checks.require_voice("clip.mp4", -30.0) == []
    (finding,) = checks.require_voice("clip.mp4", -60.0)
    assert finding.code == "quiet-audio" and "-60 dB" in finding.message
    for level in (-90.0, -np.inf):
        with pytest.raises(TalkingError, match="expected a voice"):
            checks.require_voice("clip.mp4", level)


def test_auto_says_why_it_moved_nothing():
    assert "3.0 s are too short" in checks.no_offset_text(0, 75, 25.0)
    assert "no better at any offset" in checks.no_offset_text(26, 250, 25.0)


def test_audio_too_short_or_missing():
    assert checks.audio_findings(9.9, 10.0) == []
    (finding,) = checks.audio_findings(6.0, 10.0)
    assert finding.code == "short-audio"
    with pytest.raises(TalkingError, match="no audio stream"):
        checks.require_audio("clip.mp4", False)


@needs_clips("clips/man_curtain_cut.mp4", "clips/man_kitchen.mp4")
@pytest.mark.parametrize(
    ("name", "span", "cuts"), [("man_curtain_cut", (200, 250), [226]), ("man_kitchen", (240, 290), [])]
)
def test_real_clips(name, span, cuts):
    track = track_faces(islice(read_frames(shared_file(f"clips/{name}.mp4")), *span))
    assert [cut + span[0] for cut in checks.find_cuts(track.thumbnails, track.landmarks)] == cuts
    assert track.counts.max() == 1
    assert np.isfinite(track.landmarks).all()


@needs_clips("clips/obama.mp4", "clips/man_curtain_cut.mp4")
def test_two_people_are_counted_and_one_is_tracked():
    clips = [shared_file("clips/obama.mp4"), shared_file("clips/man_curtain_cut.mp4")]
    sides = (islice(read_frames(clip), 26) for clip in clips)
    track = track_faces(np.hstack([left, right[:450, :450]]) for left, right in zip(*sides))
    assert track.counts.tolist() == [2, 2, 2]
    middle = track.landmarks[:, 1, 0]
    assert (middle < 450).all() or (middle > 450).all()
    codes = [finding.code for finding in checks.face_findings(track.landmarks, track.counts)]
    assert codes == ["several-faces"]


@needs_clips("clips/obama.mp4")
def test_landmarks_come_back_after_a_break():
    frames = list(islice(read_frames(shared_file("clips/obama.mp4")), 9))
    for index in (3, 4):
        frames[index] = np.full_like(frames[index], 90)
    seen = np.isfinite(track_faces(frames).landmarks).all(axis=(1, 2))
    assert seen.tolist() == [True] * 3 + [False] * 2 + [True] * 4


def test_without_a_face_tracker_the_other_python_is_named(monkeypatch):
    checks.require_face_tracker()
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(TalkingError, match=r"mediapipe.*3\.10 or 3\.11"):
        checks.require_face_tracker()
