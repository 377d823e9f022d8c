"""Audio to head motion: exact inverses, the processes against what they are to be, learning, and the commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.builders import write_talking_dataset
from helpers.paths import SAMPLE
from scipy.spatial.transform import Rotation

from nerfstudio_talking.audio.kernel_regression import AudioRegression
from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack, save_track
from nerfstudio_talking.face import linear_face_model
from nerfstudio_talking.face.landmark_sets import CHIN_478, LIPS_478
from nerfstudio_talking.face.linear_face_model import (
    FaceModel,
    camera_matrices,
    canonical_face,
    face_basis,
    pose_vectors,
)
from nerfstudio_talking.face.mesh_export import draw_mesh, write_mesh
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.reading import read_audio
from nerfstudio_talking.motion import head_process
from nerfstudio_talking.motion.audio_features import cepstral_windows, loudness, silence
from nerfstudio_talking.motion.blinks import Blinking, blink_times, find_blinks, fit_blinking, sample_eyes
from nerfstudio_talking.motion.generation import (
    MotionTrack,
    generate_motion,
    generated_track,
    load_motion,
    motion_for,
    save_motion,
)
from nerfstudio_talking.motion.learning import LearningOptions, Sample, fit_network
from nerfstudio_talking.motion.model import MotionModel, Person, load_model, save_model
from nerfstudio_talking.motion.network import MotionLossWeights, MotionNetwork, MotionNetworkConfig, motion_losses
from nerfstudio_talking.motion.recording import load_recording, resampled
from nerfstudio_talking.motion.statistics import loudness_coupling, motion_statistics, statistics_distance
from nerfstudio_talking.motion.training import demean, fine_tune, shrinkage, spread_gain

TINY = MotionNetworkConfig((2, 3, 4, 4), 8, 8, 1, 0.1)


def voice(seconds: float, seed: int = 0, silent: tuple[float, float] | None = None) -> np.ndarray:
    """Noise in syllables and phrases, at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    syllables = np.clip(np.sin(2 * np.pi * 4 * time + 3 * np.sin(time)), 0, 1)
    phrases = np.sin(2 * np.pi * time / 5) > -0.7
    audio = 0.2 * syllables * phrases * rng.standard_normal(len(time))
    if silent is not None:
        audio[int(silent[0] * 16000) : int(silent[1] * 16000)] = 0
    return audio.astype(np.float32)


def swaying(frames: int, seed: int = 0) -> np.ndarray:
    """Poses of a head that sways at about half a hertz."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / 25
    pose = np.zeros((frames, 6))
    for axis, amplitude in enumerate((0.06, 0.08, 0.04, 0.01, 0.005, 0.01)):
        for frequency in rng.uniform(0.2, 1.2, 4):
            pose[:, axis] += 0.5 * amplitude * np.sin(2 * np.pi * frequency * time + rng.uniform(0, 6))
    return pose + np.array([0.1, -0.05, 0.02, 0.01, 0.0, -0.9])


def made_basis(count: int = 5) -> tuple[FaceModel, np.ndarray]:
    """A face model of random smooth faces, and the faces."""
    rng = np.random.default_rng(1)
    mean = canonical_face()[0]
    directions = rng.standard_normal((8, 478, 3)) * (0.001, 0.001, 0.0)
    closure = rng.random(60)
    shapes = mean + np.einsum("fk,kpi->fpi", rng.standard_normal((60, 8)), directions)
    shapes[:, :, 1] -= closure[:, None] * 0.004 * np.isin(np.arange(478), linear_face_model.lid_points())
    return FaceModel(shapes.mean(0), face_basis([(shapes, closure)], count)), shapes


def made_model(frames: int = 300) -> MotionModel:
    """A personal model with a network that has learned nothing."""
    face, _ = made_basis()
    torch.manual_seed(0)
    network = MotionNetwork(TINY, 5).eval()
    pose, audio = swaying(frames), voice(frames / 25)
    process = head_process.fit_head_process(pose, pose, loudness(audio, 25, frames), 25)
    person = Person(
        name="someone",
        digest="d",
        mean_shape=face.mean,
        pose_mean=pose.mean(0),
        pose_scale=pose.std(0),
        pose_gain=np.full(6, 0.3),
        expression_gain=np.full(5, 1.2),
        expression_range=np.tile([[-2.0], [2.0]], 5),
        expression_rest=np.array([-1.5, 0, 0, 0, 0]),
        regression=AudioRegression(
            np.zeros(336), np.ones(336), np.zeros((1, 336)), np.zeros((1, 5)), np.ones(5), np.ones(5), np.ones(5)
        ),
        process=process,
        blinking=Blinking(18.0, np.array([0, 0.25, 0.8, 1, 0.7, 0.4, 0.2, 0.1, 0, 0]), 0.95, 0.05),
    )
    return MotionModel(network, TINY, face.basis, {"seed": 0}, person)


@pytest.fixture(scope="module")
def model():
    return made_model()


@pytest.fixture(scope="module")
def sample_data(tmp_path_factory):
    """A dataset folder from the sample's ground truth: its face, its poses, its voice; no tracking and no images."""
    with np.load(SAMPLE / "ground_truth.npz") as archive:
        gt = dict(archive)
    folder = tmp_path_factory.mktemp("motion") / "sample"
    folder.mkdir()
    shapes = np.repeat(gt["shape"][None].astype(np.float64), 250, axis=0)
    gap = 0.089 * gt["lips"][:, None]
    lower = np.array([14, 17, 84, 87, 178, 181, 314, 317, 402, 405, *CHIN_478])
    rest = linear_face_model.mouth_gap(shapes[:1])[0]
    shapes[:, lower, 1] -= gap - rest
    landmarks = linear_face_model.landmarks_of_shapes(
        shapes, gt["camera_to_worlds"], PinholeCamera(float(gt["focal"]), 256, 256)
    )
    track = TalkingTrack(
        fps=25.0,
        camera=PinholeCamera(float(gt["focal"]), 256, 256),
        camera_to_worlds=gt["camera_to_worlds"].astype(np.float32),
        audio=np.zeros((250, 16, 80), np.float32),
        audio_kind="logmel",
        eyes=gt["eyes"].astype(np.float32),
        lips=gt["lips"].astype(np.float32),
        landmarks=landmarks.astype(np.float32),
        digest="sample",
    )
    import soundfile

    soundfile.write(folder / "audio.wav", read_audio(SAMPLE / "voice.flac"), 16000)
    save_track(track, folder)
    return folder


# the face


def test_canonical_face_is_a_surface():
    points, triangles = canonical_face()
    assert points.shape == (478, 3)
    assert np.linalg.norm(points[33] - points[263]) == pytest.approx(0.089, abs=1e-4)
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert counts.max() == 2
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # all turned the same way round
    nose = points[triangles[(triangles == 4).any(1)]]
    assert np.cross(nose[:, 1] - nose[:, 0], nose[:, 2] - nose[:, 0])[:, 2].min() > 0


def test_poses_and_their_inverse():
    quarter = np.array([[[1.0, 0, 0, 0.1], [0, 1, 0, 0.2], [0, 0, 1, 0.9]]])
    np.testing.assert_allclose(pose_vectors(quarter), [[0, 0, 0, -0.1, -0.2, -0.9]], atol=1e-12)
    # the head shakes by 90 degrees: its x axis points away from the camera, which stands on its left
    shaken = pose_vectors(camera_matrices(np.array([[0, np.pi / 2, 0, 0, 0, -1.0]])))
    np.testing.assert_allclose(camera_matrices(shaken)[0][:, 3], [-1, 0, 0], atol=1e-12)
    rng = np.random.default_rng(0)
    pose = np.concatenate([rng.uniform(-1, 1, (50, 3)), rng.uniform(-1, 1, (50, 3))], axis=1)
    np.testing.assert_allclose(pose_vectors(camera_matrices(pose)), pose, atol=1e-12)
    matrices = camera_matrices(pose)
    np.testing.assert_allclose(matrices[:, :, :3], Rotation.from_rotvec(-pose[:, :3]).as_matrix(), atol=1e-12)


def test_coefficients_and_their_inverse():
    face, shapes = made_basis()
    rng = np.random.default_rng(2)
    coefficients, closure = rng.standard_normal((20, 5)), rng.random(20)
    np.testing.assert_allclose(face.encode(face.shapes(coefficients, closure)), coefficients, atol=1e-10)
    np.testing.assert_allclose(face.encode(face.mean[None]), np.zeros((1, 5)), atol=1e-12)
    seen = face.encode(shapes)
    np.testing.assert_allclose(seen.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(seen.mean(0), 0, atol=1e-9)


def test_first_coefficient_alone_opens_the_lips():
    face, _ = made_basis()
    gaps = linear_face_model.mouth_gap(face.basis.components)
    assert gaps[0] > 1e-4
    np.testing.assert_allclose(gaps[1:], 0, atol=1e-12)
    two = face.shapes(np.array([[2.0, 1, -1, 3, 0.5]]))
    width = np.linalg.norm(face.mean[33] - face.mean[263])
    expected = max(linear_face_model.mouth_gap(two)[0], 0) / width
    assert face.lip_opening(np.array([[2.0, 1, -1, 3, 0.5]]))[0] == pytest.approx(expected)


def test_more_components_explain_more():
    _, shapes = made_basis()
    mouth = [*LIPS_478, *CHIN_478]

    def error(count):
        face = FaceModel(shapes.mean(0), face_basis([(shapes, np.zeros(60))], count))
        return np.abs(face.shapes(face.encode(shapes))[:, mouth] - shapes[:, mouth]).max()

    assert error(9) < 1e-8 < 1e-4 < error(4)  # eight directions and the opening
    with pytest.raises(ValueError, match="components"):
        face_basis([(shapes[:5], np.zeros(5))], 9)


def test_shapes_come_back_from_the_image():
    face, _ = made_basis()
    rng = np.random.default_rng(3)
    shapes = face.shapes(rng.standard_normal((6, 5)))
    shapes[:, :, 2] = face.mean[:, 2]
    poses = camera_matrices(swaying(6) + 0.1 * rng.standard_normal((6, 6)))
    image = linear_face_model.landmarks_of_shapes(shapes, poses, PinholeCamera(600.0, 256, 200))
    found = linear_face_model.shapes_at_depth(image, poses, PinholeCamera(600.0, 256, 200), face.mean[:, 2])
    np.testing.assert_allclose(found, shapes, atol=1e-9)


def test_depth_shows_where_the_head_turns():
    """A point 8 mm in front of the canonical face is found there when the head turns, and left when it does not."""
    points = canonical_face()[0].copy()
    points[4, 2] += 0.008
    pose = np.zeros((200, 6))
    pose[:, 5] = -0.9
    still = camera_matrices(pose)
    pose[:, 1] = 0.3 * np.sin(np.arange(200) / 7)
    turning = camera_matrices(pose)
    depth = [
        linear_face_model.point_depths(
            linear_face_model.landmarks_of_shapes(
                np.repeat(points[None], 200, 0), poses, PinholeCamera(600.0, 256, 256)
            ),
            poses,
            PinholeCamera(600.0, 256, 256),
        )
        for poses in (still, turning)
    ]
    assert depth[0][4] == pytest.approx(canonical_face()[0][4, 2], abs=1e-9)
    assert depth[1][4] == pytest.approx(points[4, 2], abs=0.002)


def test_meshes_are_written_and_drawn(tmp_path):
    import trimesh

    points, triangles = canonical_face()
    for name in ("face.ply", "face.obj"):
        write_mesh(points, tmp_path / name)
        mesh = trimesh.load(tmp_path / name, process=False)
        np.testing.assert_allclose(mesh.vertices, points[:468], atol=1e-6)
        assert len(mesh.faces) == len(triangles)
    with pytest.raises(TalkingError, match=r"\.ply or \.obj"):
        write_mesh(points, tmp_path / "face.stl")
    black = np.zeros((200, 256, 3), np.uint8)
    pose = camera_matrices(np.array([[0.0, 0, 0, 0, 0, -0.9]]))[0]
    drawn = draw_mesh(black, points, pose, PinholeCamera(900.0, 256, 200))
    assert black.max() == 0
    seen = linear_face_model.landmarks_of_shapes(points[None], pose[None], PinholeCamera(900.0, 256, 200))[0]
    rows, columns = np.nonzero(drawn.max(2))
    assert columns.min() == pytest.approx(seen[:468, 0].min(), abs=2.5)
    assert rows.max() == pytest.approx(seen[:468, 1].max(), abs=2.5)
    column, row = seen[4].astype(int)
    assert drawn[row - 1 : row + 2, column - 1 : column + 2].max() > 100


# the audio


def test_patches_lie_around_their_frames():
    """Frame i is centred on second (i + 0.5) / 25; a click is in the patches whose 280 ms hold it."""
    audio = np.zeros(16000, np.float32)
    audio[8000 : 8000 + 40] = 0.5
    patches = cepstral_windows(audio, 25.0, 25)
    assert patches.shape == (25, 28, 12)
    heard = np.flatnonzero(np.abs(patches - patches[0]).max((1, 2)) > 1e-3)
    assert heard.min() == 9 and heard.max() == 15  # middles within 152 ms: half a patch, half an analysis window


def test_loudness_by_hand():
    audio = np.zeros(3200)
    audio[640:1280] = 0.1
    audio[1280:1920] = 0.001  # 40 dB below
    audio[1920:2560] = 0.01
    level = loudness(audio, 25.0, 6)
    np.testing.assert_allclose(level[[0, 4, 5]], 0)
    np.testing.assert_allclose(level[1] - level[3], 0.5, atol=1e-6)
    assert level[1] == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(loudness(np.zeros(3200), 25.0, 5), 0)


# the process


def test_autoregression_is_found_and_stable():
    rng = np.random.default_rng(0)
    true = np.array([[[1.2, 0.2], [0.0, 0.9]], [[-0.5, 0.0], [0.1, -0.3]]])
    noise = np.array([[1.0, 0.0], [0.5, 0.7]])
    values = np.zeros((6000, 2))
    for i in range(2, 6000):
        values[i] = true[0] @ values[i - 1] + true[1] @ values[i - 2] + noise @ rng.standard_normal(2)
    matrices, factor = head_process.vector_autoregression(values, 2)
    np.testing.assert_allclose(matrices, true, atol=0.05)
    np.testing.assert_allclose(factor @ factor.T, noise @ noise.T, atol=0.05)
    covariance = head_process.stationary_covariance(true, noise @ noise.T)
    np.testing.assert_allclose(covariance, np.cov(values.T), rtol=0.2)
    one = head_process.stationary_covariance(np.array([[[0.5]]]), np.eye(1))
    assert one[0, 0] == pytest.approx(1 / (1 - 0.25))
    # a trend and pure tones would be on the edge
    for values in (np.linspace(-1, 1, 200)[:, None] + 0.001 * rng.standard_normal((200, 1)), swaying(1500)):
        matrices, _ = head_process.vector_autoregression(values / values.std(0), 6)
        assert np.abs(np.linalg.eigvals(head_process.companion(matrices))).max() < 0.99501


def test_process_has_the_spread_and_the_spectrum_it_was_fitted_to():
    pose = swaying(1500)
    level = np.full(1500, 0.8)
    process = head_process.fit_head_process(pose, pose, level, 25)
    drawn = head_process.sample_head_process(process, np.full(7500, 0.8), 25, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.std(0) / pose.std(0), 1, atol=0.35)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(pose.T), atol=0.45)
    mine, other = motion_statistics(pose, 25), motion_statistics(3 * swaying(1500, 5), 25)
    assert statistics_distance(motion_statistics(drawn, 25), mine)["distance"] < 0.6
    assert statistics_distance(motion_statistics(drawn, 25), other)["distance"] > 0.8


def test_bounds_by_hand():
    low, high = np.array([-1.0]), np.array([1.0])
    values = np.array([[0.0], [0.5], [-0.88], [1.2], [50.0], [-50.0]])
    held = head_process.soft_clamp(values, low, high)[:, 0]
    np.testing.assert_allclose(held[:3], values[:3, 0])
    assert 0.88 < held[3] < 1.2
    np.testing.assert_allclose(held[4:], [1.2, -1.2])
    ramp = head_process.soft_clamp(np.linspace(-3, 3, 6001)[:, None], low, high)[:, 0]
    assert np.diff(ramp).min() >= 0
    assert np.abs(np.diff(ramp, 2)).max() < 1e-5  # no corner


def test_clock_runs_with_loudness():
    level = np.concatenate([np.full(200, 1.0), np.zeros(200)])
    rate = head_process.clock_rate(np.array([0.6, 0.8]), level, 25)
    assert rate[50] == pytest.approx(1.4)
    assert rate[-20:].max() < 0.13
    assert np.abs(np.diff(rate)).max() < 0.1


def test_coupling_is_the_recordings():
    """A head that speeds up with loudness gives a clock that does; one that does not, does not."""
    level = np.repeat(np.random.default_rng(0).uniform(0, 1, 60), 25)
    clock = np.cumsum(head_process.clock_rate(np.array([0.2, 1.6]), level, 25))
    steady = swaying(3000)
    driven = np.stack([np.interp(clock, np.arange(3000), column) for column in steady.T], axis=1)
    slopes = [head_process.fit_head_process(pose, pose, level, 25).rate[1] for pose in (steady[:1500], driven)]
    assert slopes[0] < 0.5 < slopes[1]
    rate = head_process.fit_head_process(driven, driven, level, 25).rate
    assert head_process.clock_rate(rate, level, 25).mean() == pytest.approx(1, abs=0.02)


# blinks


def test_blinks_are_found():
    opening = np.full(250, 0.95)
    for frame in (40, 120, 200):
        opening[frame - 1 : frame + 3] = (0.5, 0.05, 0.3, 0.7)
    opening[150:190] = 0.3  # a look down, no blink
    np.testing.assert_array_equal(find_blinks(opening, 25.0), [40, 120, 200])
    fitted = fit_blinking(opening, 25.0)
    # 3 in 10 s, 20 per minute over 20 s
    assert fitted.rate == pytest.approx((3 + 20 / 3) / 0.5)
    assert fitted.opening == pytest.approx(0.95)
    assert fitted.shape.argmax() == 3
    assert fitted.shape[2] == pytest.approx((0.45 / 0.9), abs=1e-6)


def test_blinks_come_at_their_rate():
    times = np.concatenate([blink_times(18.0, 300.0, np.random.default_rng(seed)) + 1000 * seed for seed in range(10)])
    assert len(times) / 50 == pytest.approx(18, rel=0.08)
    gaps = np.diff(times)
    gaps = gaps[gaps < 500]
    assert gaps.min() >= 0.5
    assert gaps.std() > 0.4 * gaps.mean()  # no metronome
    blinking = Blinking(18.0, np.array([0, 0.25, 0.8, 1, 0.7, 0.4, 0.2, 0.1, 0, 0]), 0.95, 0.05)
    eyes = sample_eyes(blinking, 7500, 25.0, np.random.default_rng(0))
    assert eyes.min() >= 0 and eyes.max() < 1.1
    assert len(find_blinks(eyes, 25.0)) / 5 == pytest.approx(18, rel=0.25)


# the network


def test_losses_by_hand():
    predicted, target = torch.zeros(1, 3, 8), torch.zeros(1, 3, 8)
    predicted[0, 1, 0] = 2.0  # one of two coefficients, one of three frames
    predicted[0, :, 2] = 3.0  # one of six pose numbers, throughout
    weights = MotionLossWeights(0.2, 0.5, 0.1, 0.01, 0.001)
    losses = motion_losses(predicted, target, torch.tensor([1.5, 0.5]), weights)
    assert float(losses["expression"]) == pytest.approx(1.5 * 4 / 6)
    assert float(losses["pose"]) == pytest.approx(0.2 * 9 / 6)
    assert float(losses["expression_change"]) == pytest.approx(0.5 * 1.5 * 8 / 4)
    assert float(losses["pose_change"]) == 0
    assert float(losses["restlessness"]) == pytest.approx(0.001 * 8 / 4)


def test_long_audio_is_predicted_as_short_audio_is():
    torch.manual_seed(0)
    network = MotionNetwork(TINY, 5)
    patches = torch.randn(700, 28, 12)
    whole = network.predict(patches)
    assert whole.shape == (700, 11)
    assert torch.isfinite(whole).all()
    # frames far from the cut do not see it
    torch.testing.assert_close(network.predict(patches[:400])[:380], whole[:380], atol=1e-5, rtol=1e-4)
    assert network.predict(patches[:1]).shape == (1, 11)
    steady = network.predict(patches[:1].expand(100, -1, -1))
    torch.testing.assert_close(steady, steady[:1].expand(100, -1), atol=1e-3, rtol=0)


def learn(checkpoint, stop_at=None, seed=0):
    """A few epochs on numbers that audio tells; interrupted in the given epoch."""
    generator = torch.Generator().manual_seed(3)
    patches = torch.randn(96, 28, 12, generator=generator)
    targets = torch.cat([patches.mean((1, 2))[:, None] * 20, torch.zeros(96, 7)], 1)
    samples = [Sample(patches[:64], targets[:64]), Sample(patches[64:], targets[64:])]
    torch.manual_seed(seed)
    network = MotionNetwork(TINY, 2)
    calls = []

    def advance(losses):
        calls.append(losses)
        if len(calls) == stop_at:
            raise KeyboardInterrupt

    options = LearningOptions(epochs=6, batch=4, save_every=2, seed=seed)
    history, best = fit_network(network, samples[:1], samples[1:], torch.ones(2), options, checkpoint, advance)
    return network.state_dict(), history, best, calls


def test_resumed_is_uninterrupted(tmp_path):
    straight, history, best, calls = learn(None)
    assert len(calls) == 6
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "c.pt", stop_at=5)  # after the fifth epoch; the state is of the fourth
    resumed, again, best_again, _ = learn(tmp_path / "c.pt")
    for name in straight:
        torch.testing.assert_close(resumed[name], straight[name], atol=0, rtol=0)
        torch.testing.assert_close(best_again[name], best[name], atol=0, rtol=0)
    assert again.held_out == history.held_out
    assert again.train == history.train
    other, *_ = learn(None, seed=1)
    assert any(not torch.equal(other[name], straight[name]) for name in straight)


def test_blocks_are_centred():
    values = np.array([[1.0], [3.0], [10.0], [20.0], [30.0]])
    found = demean(values, [np.array([0, 1]), np.array([2, 3, 4])])
    np.testing.assert_allclose(found[:, 0], [-1, 1, -10, 0, 10])


def test_gains_by_hand():
    rng = np.random.default_rng(0)
    told, noise = rng.standard_normal((2, 4000, 1))
    target = told + noise  # correlation 0.71 with what is told
    np.testing.assert_allclose(shrinkage(2 * told, target), 0.5, atol=0.03)
    assert shrinkage(rng.standard_normal((4000, 1)), target)[0] == 0
    gain, correlation = spread_gain(told, target)
    assert correlation[0] == pytest.approx(0.707, abs=0.03)
    assert gain[0] == pytest.approx(2**0.5, abs=0.05)
    assert spread_gain(0.01 * told, target)[0][0] == 1.6


# motion


def test_five_minutes_stay_within_the_person(model):
    audio = voice(300)
    motion = generate_motion(model, audio, seed=1)
    assert motion.num_frames == 7500
    low, high = model.person.process.low, model.person.process.high
    reach = high - low
    assert (motion.pose > low - 0.1 * reach - 1e-9).all() and (motion.pose < high + 0.1 * reach + 1e-9).all()
    assert np.abs(motion.expression).max() <= 2.4
    minutes = motion.pose.reshape(5, 1500, 6)
    scale = model.person.pose_scale
    drift = (minutes.mean(1) - model.person.pose_mean) / scale
    assert np.abs(drift).max() < 1.5  # no drift: a minute's mean is a slow sway's, the last like the first
    assert (minutes.std(1) / scale).min() > 0.4  # nor does it tire
    assert np.abs(np.diff(motion.pose, axis=0) / scale).max() < 1.0
    recorded = swaying(300)
    shake = np.diff(motion.pose, 2, axis=0).std(0) / np.diff(recorded, 2, axis=0).std(0)
    assert shake.max() < 2.5  # as smooth as the person, but for the loudness that hurries it
    yaw = motion.pose[:, 1] - motion.pose[:, 1].mean()
    echo = np.fft.irfft(np.abs(np.fft.rfft(yaw, 2 * len(yaw))) ** 2)[: len(yaw)]
    echo = echo / echo[0] * len(yaw) / np.arange(len(yaw), 0, -1)
    assert np.abs(echo[750:5000]).max() < 0.5  # no loop


def test_seeds(model):
    audio = voice(8)
    first, again, other = (generate_motion(model, audio, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.pose, again.pose)
    np.testing.assert_array_equal(first.eyes, again.eyes)
    np.testing.assert_array_equal(first.expression, other.expression)
    apart = np.abs(first.pose - other.pose).mean(0) / model.person.pose_scale
    assert apart.min() > 0.3


def test_silence_calms_the_head(model):
    audio = voice(60, silent=(30, 60))
    speeds = []
    for seed in range(3):
        motion = generate_motion(model, audio, seed=seed)
        speed = np.linalg.norm(np.diff(motion.pose[:, :3], axis=0), axis=1)
        speeds.append((speed[100:650].mean(), speed[850:].mean()))
    loud, silent = np.mean(speeds, axis=0)
    assert silent < 0.35 * loud
    np.testing.assert_allclose(motion.expression[850:, 0], -1.5, atol=0.01)
    assert np.median(np.abs(motion.expression[:700, 0] + 1.5)) > 0.5  # phrases have pauses too
    np.testing.assert_array_equal(silence(np.full(50, 0.5), 25.0), 0)
    nothing = generate_motion(model, np.zeros(16000 * 4, np.float32))
    assert np.isfinite(nothing.pose).all() and nothing.num_frames == 100


def test_motion_at_other_rates(model):
    audio = voice(4)
    plain, film = generate_motion(model, audio, 25.0, seed=2), generate_motion(model, audio, 50.0, seed=2)
    assert film.num_frames == 200
    np.testing.assert_allclose(film.pose[::2][:98], resampled(plain.pose, 25, 50, 200)[::2][:98], atol=1e-9)
    np.testing.assert_allclose(
        resampled(np.arange(5.0), 25, 50, 10), [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4]
    )


def test_files(model, tmp_path):
    motion = generate_motion(model, voice(2), seed=7)
    save_motion(motion, tmp_path / "m.npz")
    read = load_motion(tmp_path / "m.npz")
    np.testing.assert_array_equal(read.pose, motion.pose)
    assert (read.seed, read.digest, read.fps) == (7, "d", 25.0)
    save_model(model, tmp_path / "p.pt")
    twin = load_model(tmp_path / "p.pt", personal=True)
    again = generate_motion(twin, voice(2), seed=7)
    np.testing.assert_array_equal(again.pose, motion.pose)
    np.testing.assert_array_equal(again.expression, motion.expression)
    by_name = motion_for(tmp_path / "p.pt", voice(2), 25.0, 50, 7)
    np.testing.assert_array_equal(by_name.pose, motion.pose)
    assert motion_for(tmp_path / "m.npz", voice(2), 25.0, 50, 0).seed == 7
    save_model(MotionModel(model.network, model.network_config, model.basis), tmp_path / "g.pt")
    with pytest.raises(TalkingError, match="finetune"):
        motion_for(tmp_path / "g.pt", voice(2), 25.0, 50, 0)
    (tmp_path / "junk.pt").write_bytes(b"no model")
    for name in ("junk.pt", "none.pt"):
        with pytest.raises(TalkingError, match="motion model"):
            load_model(tmp_path / name)
    np.savez(tmp_path / "other.npz", pose=np.zeros(3))
    with pytest.raises(TalkingError, match="motion track"):
        load_motion(tmp_path / "other.npz")


def test_generated_motion_drives_a_portrait(model):
    poses = camera_matrices(swaying(40)).astype(np.float32)
    portrait = TalkingTrack(
        25.0, PinholeCamera(150.0, 64, 64), poses, np.zeros((40, 16, 80), np.float32), "logmel", np.ones((40, 2),
        np.float32),
        digest="d", lips=np.zeros(40, np.float32), landmarks=np.zeros((40, 478, 2), np.float32),
    )  # fmt: skip
    audio = np.ones((100, 16, 80), np.float32)
    motion = generate_motion(model, voice(4), seed=1)
    track = generated_track(portrait, audio, motion)
    assert track.num_frames == 100
    np.testing.assert_allclose(pose_vectors(track.camera_to_worlds), motion.pose, atol=1e-5)
    np.testing.assert_allclose(track.eyes, np.stack([motion.eyes] * 2, 1), atol=1e-6)
    np.testing.assert_allclose(track.lips, motion.lips, atol=1e-6)
    assert track.landmarks is None
    other = generated_track(portrait.replace(digest="another"), audio, motion)
    mean = pose_vectors(other.camera_to_worlds).mean(0)
    np.testing.assert_allclose(mean, pose_vectors(portrait.camera_to_worlds).mean(0), atol=1e-5)
    with pytest.raises(TalkingError, match="as long as the audio"):
        generated_track(portrait, np.ones((110, 16, 80), np.float32), motion)
    fast = MotionTrack(50.0, *(np.repeat(v, 2, 0) for v in (motion.pose, motion.expression, motion.lips, motion.eyes)))
    assert generated_track(portrait, audio, fast).num_frames == 100


def test_manner_distance():
    pose = swaying(500)
    mine = motion_statistics(pose, 25)
    assert statistics_distance(mine, mine)["distance"] == 0
    assert statistics_distance(motion_statistics(3 - pose, 25), mine)["distance"] == pytest.approx(0, abs=1e-9)
    twice = motion_statistics(2 * pose, 25)
    for value in statistics_distance(twice, mine).values():
        assert value == pytest.approx(np.log(2))
    assert statistics_distance(mine, twice) == pytest.approx(statistics_distance(twice, mine))
    slow = motion_statistics(np.repeat(swaying(250), 2, 0), 25)
    assert statistics_distance(slow, motion_statistics(swaying(500), 25))["speed"] > 0.2
    tone = np.zeros((500, 6))
    tone[:, 0] = 0.1 * np.sin(2 * np.pi * 1.5 * np.arange(500) / 25)
    spectrum = motion_statistics(tone, 25).spectrum[0]
    assert spectrum.argmax() == 2  # 1 to 2 Hz
    assert spectrum[2] == pytest.approx(0.1 * 2 * np.pi * 1.5 / 2**0.5, rel=0.05)


def test_coupling():
    level = np.repeat(np.random.default_rng(0).uniform(0, 1, 40), 12)
    pose = np.zeros((480, 6))
    pose[:, 2] = np.cumsum(level)
    assert loudness_coupling(pose, level, 25) > 0.95
    pose[:, 2] = np.cumsum(1 - level)
    assert loudness_coupling(pose, level, 25) < -0.95


# recordings and commands


def test_recording_reads_what_was_put_in(sample_data):
    recording = load_recording(sample_data)
    with np.load(SAMPLE / "ground_truth.npz") as gt:
        np.testing.assert_allclose(recording.pose, pose_vectors(gt["camera_to_worlds"]), atol=1e-6)
        face = FaceModel(recording.shapes.mean(0), face_basis([(recording.shapes, recording.closure)], 4))
        opening = face.lip_opening(face.encode(recording.shapes))
        assert np.corrcoef(opening, gt["lips"])[0, 1] > 0.99
    assert recording.patches.shape == (250, 28, 12)
    short = load_recording(sample_data, 100)
    assert short.num_frames == 100
    np.testing.assert_allclose(short.pose, recording.pose[:100])
    with pytest.raises(TalkingError, match="400 frames"):
        load_recording(sample_data, 400)


def test_other_landmarks_and_short_clips_are_refused(talking_dataset, tmp_path):
    with pytest.raises(TalkingError, match="expected 64 frames; found 22"):
        load_recording(talking_dataset)
    write_talking_dataset(tmp_path / "d", frames=70)
    with pytest.raises(TalkingError, match="478 FaceMesh landmarks"):
        load_recording(tmp_path / "d")


def test_fine_tuning_resumes(sample_data, tmp_path):
    from nerfstudio_talking.motion.training import PersonalConfig

    recording = load_recording(sample_data, 100)
    face = face_basis([(recording.shapes, recording.closure)], 3)
    torch.manual_seed(0)
    general = MotionModel(MotionNetwork(TINY, 3), TINY, face)
    config = PersonalConfig(folds=2, learning=LearningOptions(epochs=2, save_every=1))
    straight, figures = fine_tune(general, recording, config)
    calls = []

    def advance(stage, losses, total):
        calls.append(stage)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(general, recording, config, tmp_path / "w", advance)
    assert calls == ["block 1", "block 1", "block 2"]
    resumed, again = fine_tune(general, recording, config, tmp_path / "w")
    assert again == figures
    for name, value in straight.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, atol=0, rtol=0)
    np.testing.assert_array_equal(resumed.person.process.matrices, straight.person.process.matrices)


def test_commands(sample_data, tmp_path, capsys):
    from nerfstudio_talking.cli.main import entrypoint

    general, personal, motion = tmp_path / "g.pt", tmp_path / "p.pt", tmp_path / "m.npz"
    entrypoint(
        ["motion", "train", "--data", str(sample_data), "--output", str(general), "--epochs", "2", "--expression", "4"]
    )
    options = ["--frames", "120", "--epochs", "2", "--output", str(personal)]
    entrypoint(["motion", "finetune", "--model", str(general), "--data", str(sample_data), *options])
    assert "Held-out losses" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.work"))
    voice_path = str(SAMPLE / "other_voice.flac")
    entrypoint(["motion", "generate", "--model", str(personal), "--audio", voice_path, "--output", str(motion)])
    track = load_motion(motion)
    assert track.num_frames == round(len(read_audio(Path(voice_path))) / 640)
    assert track.digest == "sample"
    entrypoint(
        ["motion", "show", "--model", str(personal), "--data", str(sample_data), "--output", str(tmp_path / "f.obj")]
    )
    assert (tmp_path / "f.obj").stat().st_size > 10000
    with pytest.raises(SystemExit):
        drive = ["drive", "--load-config", str(tmp_path / "c.yml"), "--audio", voice_path, "--output", str(motion)]
        entrypoint([*drive, "--pose", "generated"])
    assert "--motion" in capsys.readouterr().out
    for bad in (["--model", str(general)], ["--model", str(tmp_path / "none")]):
        with pytest.raises(SystemExit):
            entrypoint(["motion", "generate", *bad, "--audio", voice_path, "--output", str(motion)])
