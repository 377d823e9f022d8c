from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.paths import SHARED
from helpers.voices import late, speech
from scipy.fftpack import dct
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter, shift
from torch import nn
from torch.nn import functional as F

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID
from nerfstudio_talking.face.landmark_sets import OUTER_EYE_CORNERS
from nerfstudio_talking.face.measurements import lip_opening
from nerfstudio_talking.io import weights
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics import action_units, images, landmarks, stability, suite, syncnet
from nerfstudio_talking.metrics.accumulators import FaceMotion, ImageQuality, Steadiness
from nerfstudio_talking.metrics.regions import FrameRegions, pixel_box, regions_from_landmarks, regions_from_parsing
from nerfstudio_talking.metrics.suite import PortraitScores

FPS = 25.0


def image(height: int = 72, width: int = 80, seed: int = 0) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    smooth = gaussian_filter(noise, (3, 3, 0))
    return torch.from_numpy((0.5 + 0.2 * smooth / smooth.std()).clip(0, 1)).float()


def noisy(clean: torch.Tensor, sigma: float, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (clean + sigma * torch.randn(clean.shape, generator=generator)).clamp(0, 1)


# --- images


def test_psnr_by_hand() -> None:
    a = torch.full((4, 5, 3), 0.5)
    assert images.psnr(a, a + 0.1) == pytest.approx(20.0, abs=1e-4)
    assert images.psnr(a, a) == 100.0


def test_ssim_is_that_of_skimage() -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a, b = image(), noisy(image(), 0.1)
    wanted = metrics.structural_similarity(
        a.double().numpy(),
        b.double().numpy(),
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert images.ssim(a, b) == pytest.approx(wanted, abs=1e-5)
    assert images.ssim(a, a) == pytest.approx(1.0, abs=1e-6)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """Torchvision's AlexNet with random weights, convolutions only, and its file."""
    from torchvision.models import alexnet

    torch.manual_seed(0)
    features = alexnet(weights=None).features.eval()
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return path, features


def lpips_by_hand(a: torch.Tensor, b: torch.Tensor, features: nn.Module, linear: dict[str, torch.Tensor]) -> float:
    mean, std = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    total, pair = 0.0, [((2 * x - 1 - mean) / std).permute(2, 0, 1)[None] for x in (a, b)]
    for layer, module in enumerate(features):  # type: ignore[arg-type]
        pair = [module(x) for x in pair]
        if layer in (1, 4, 7, 9, 11):
            unit = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in pair]
            weights = linear[f"lin{(1, 4, 7, 9, 11).index(layer)}.model.1.weight"]
            total += float((weights * (unit[0] - unit[1]).square()).sum(1).mean())
    return total


def test_lpips_is_the_published_sum(alexnet: tuple[Path, nn.Module]) -> None:
    import lpips

    network = images.lpips_network(alexnet[0])
    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1/alex.pth", "cpu", weights_only=True)
    a = image()
    with torch.no_grad():
        wanted = lpips_by_hand(a, noisy(a, 0.1), alexnet[1], linear)
    assert images.lpips_distance(noisy(a, 0.1), a, network) == pytest.approx(wanted, rel=1e-3)
    assert images.lpips_distance(a, a, network) == 0.0
    assert images.lpips_distance(noisy(a, 0.3), a, network) > wanted
    small = a[:20, :24]
    assert images.lpips_distance(noisy(small, 0.1), small, network) > 0  # enlarged: AlexNet takes nothing so small


def test_bad_weights_are_refused(tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.pth", tmp_path / "other.pth"
    broken.write_bytes(b"no weights")
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    with pytest.raises(TalkingError, match="AlexNet"):
        images.lpips_network(broken)
    with pytest.raises(TalkingError, match=r"features\.0\.weight"):
        images.lpips_network(other)
    with pytest.raises(TalkingError, match="no such file"):
        weights.find_weights(tmp_path / "absent.pth", images.ALEXNET_FILES)


def test_weights_are_found_in_the_torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert weights.find_weights(None, images.INCEPTION_FILES) is None
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / images.INCEPTION_FILES[1]
    file.touch()
    assert weights.find_weights(None, images.INCEPTION_FILES) == file


def test_boxes_see_their_own_errors_only() -> None:
    gt = image()
    rendered = gt.clone()
    rendered[40:60, 30:50] = noisy(gt[40:60, 30:50], 0.3)
    scores = images.image_scores(rendered, gt, {"face": (0, 0, 80, 38), "mouth": (30, 40, 50, 60), "ears": None})
    assert scores["psnr_face"] == 100.0 and scores["ssim_face"] == pytest.approx(1.0, abs=1e-6)
    assert scores["psnr_mouth"] < scores["psnr"] < 100 and scores["ssim_mouth"] < scores["ssim"] < 1
    inside = -10 * np.log10(float((rendered - gt)[40:60, 30:50].double().square().mean()))
    assert scores["psnr_mouth"] == pytest.approx(inside, abs=1e-4)
    assert not any("lpips" in name or "ears" in name for name in scores)
    with pytest.raises(ValueError, match="one size"):
        images.image_scores(rendered[:10], gt, {})


def test_noise_moves_every_image_score_its_way() -> None:
    clean = image()
    scores = [
        images.image_scores(noisy(clean, sigma), clean, {"mouth": (10, 10, 40, 40)}) for sigma in (0.02, 0.1, 0.3)
    ]
    for name in scores[0]:
        assert scores[0][name] > scores[1][name] > scores[2][name]


def test_pixel_boxes() -> None:
    assert pixel_box((1.5, 2.0, 4.2, 5.0), 10, 10) == (slice(2, 5), slice(1, 5))
    assert pixel_box((-3, -3, 2, 2), 10, 10, least=4) == (slice(0, 4), slice(0, 4))
    assert pixel_box((8, 8, 20, 20), 10, 10, least=4) == (slice(6, 10), slice(6, 10))
    assert pixel_box((20, 20, 30, 30), 10, 10) is None
    assert pixel_box((0, 0, 5, 5), 10, 10, least=11) is None


def test_regions_by_parsing() -> None:
    ids = np.zeros((100, 100), np.uint8)
    ids[20:60, 30:70] = CLASS_ID["skin"]
    ids[45:55, 40:60] = CLASS_ID["lips"]
    ids[70:] = CLASS_ID["cloth"]
    regions = regions_from_parsing(ids)
    assert regions.face == pytest.approx((30, 20, 70, 60), abs=1.5)
    assert regions.mouth == pytest.approx((32, 37, 68, 63), abs=2)  # wider by 0.4 of 20 pixels on every side
    assert regions.torso is not None and regions.torso[71:].all() and not regions.torso[:71].any()
    assert (
        regions.background is not None and regions.background[:19].all() and not regions.background[19:60, 30:70].any()
    )
    nobody = regions_from_parsing(np.zeros((40, 40), np.uint8))
    assert nobody.face is None and nobody.mouth is None and not nobody.torso.any()  # type: ignore[union-attr]


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root))


class MeanColours(nn.Module):
    """A stand-in for Inception: the mean colours of the upper and the lower half."""

    num_features = 6

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(images.float() / 255, (2, 1)).flatten(1)


def test_fid_is_the_frechet_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "find_weights", lambda path, names: Path("w") if "inception" in names[0] else None)
    monkeypatch.setattr(suite, "inception_network", lambda path: MeanColours())
    frames = [(image(seed=i) * 255).round() / 255 for i in range(12)]
    for sigma in (0.0, 0.3):
        rendered = [(noisy(frame, sigma, i) * 255).round() / 255 for i, frame in enumerate(frames)]
        scores = PortraitScores(FPS, faces=False)
        for a, b in zip(rendered, frames):
            scores.update(a, b)
        sets = [MeanColours()(torch.stack(x).permute(0, 3, 1, 2) * 255).double().numpy() for x in (rendered, frames)]
        assert scores.compute()["fid"] == pytest.approx(frechet(*sets), abs=1e-6)


# --- landmarks


def mesh(lips: float = 0.1, brows: float = 0.0, seed: int = 3) -> np.ndarray:
    """A face of 478 points, eyes 100 pixels apart, with the given inner-lip gap over that distance."""
    points = np.random.default_rng(seed).uniform(80, 220, (478, 2))
    points[[*OUTER_EYE_CORNERS]] = (100, 100), (200, 100)
    points[[10, 152]] = (150, 40), (150, 240 + 100 * lips)
    for k, (upper, lower) in enumerate(((82, 87), (13, 14), (312, 317))):
        points[upper], points[lower] = (145 + 5 * k, 180), (145 + 5 * k, 180 + 100 * lips)
    points[[107, 336]] = (135, 85 - 100 * brows), (165, 85 - 100 * brows)
    return points


def test_lmd_by_hand() -> None:
    gt = np.zeros((68, 2))
    gt[48:68] = [(x, 0.0) for x in range(-10, 10)]
    wide = gt.copy()
    wide[48:68, 0] *= 1.5
    own = gt[48:68, 0] - gt[48:68, 0].mean()
    assert landmarks.landmark_distance(wide, gt) == pytest.approx(0.5 * np.abs(own).mean())
    assert landmarks.landmark_distance(gt + np.array([30, -7]), gt) == pytest.approx(0)
    with pytest.raises(ValueError, match="not 5"):
        landmarks.mouth_points_68(np.zeros((5, 2)))


def test_mesh_points_stand_in_the_order_of_the_68() -> None:
    assert len(set(landmarks.MOUTH_68_TO_MESH)) == 20
    file = SHARED / "models" / "canonical_face_model.obj"
    if not file.is_file():
        pytest.skip("no ../shared/models/canonical_face_model.obj")
    rows = [line.split()[1:3] for line in file.read_text().splitlines() if line.startswith("v ")]
    x, y = landmarks.mouth_points_68(np.array(rows, float)).T  # y up
    outer, inner = slice(0, 12), slice(12, 20)
    for part, corner in ((outer, 6), (inner, 4)):
        angle = np.unwrap(np.arctan2(y[part] - y[part].mean(), x[part]))
        assert (np.diff(angle) < 0).all()  # from the person's right corner over the upper lip
        assert x[part].argmin() == 0 and x[part].argmax() == corner
    partners = [6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 16, 15, 14, 13, 12, 19, 18, 17]  # left and right of the 68
    np.testing.assert_allclose(x, -x[partners], atol=1e-3)


def test_missed_faces_are_counted_not_averaged() -> None:
    gt = np.stack([mesh()] * 5)
    rendered = gt.copy()
    rendered[0] += 4
    rendered[1] = gt[2] = np.nan
    score = landmarks.landmark_score(rendered, gt)
    assert score.pixels == pytest.approx(0) and score.relative == pytest.approx(0)
    assert (score.missed_rendered, score.missed_gt) == (1, 1)
    half = landmarks.landmark_score(rendered[3:] * 0.5 + mesh(0.3)[None] * 0.5, gt[3:])
    small = landmarks.landmark_score((rendered[3:] + mesh(0.3)[None]) * 0.25, gt[3:] * 0.5)
    assert small.pixels == pytest.approx(half.pixels / 2) and small.relative == pytest.approx(half.relative)
    assert np.isnan(landmarks.landmark_score(gt * np.nan, gt).pixels)


@pytest.mark.parametrize("lag", [-5, 0, 4])
def test_lips_behind_by_k_frames(lag: int) -> None:
    lips = speech(8, seed=7)[0]
    agree = landmarks.agreement(np.roll(lips, lag), lips)
    assert agree.best_lag == lag and agree.best_correlation == pytest.approx(1.0)
    assert (agree.correlation == pytest.approx(1.0)) == (lag == 0)


def test_still_lips_agree_with_nothing() -> None:
    ramp = np.arange(40.0) ** 2  # best at the end of the sweep: no peak, no lag
    assert np.isnan(landmarks.agreement(ramp, np.exp(ramp / 400)).best_lag)
    assert np.isnan(landmarks.agreement(np.ones(40), speech(2, seed=7)[0][:40]).best_lag)


# --- action units


def test_aue_is_a_sum_over_units_of_means_over_frames() -> None:
    gt = np.zeros((4, 17))
    rendered = gt.copy()
    rendered[:, 0] = 1.0  # AU01
    rendered[:2, action_units.ACTION_UNITS.index("AU25")] = 2.0
    rendered[3] = np.nan
    error = action_units.action_unit_error(rendered, gt, action_units.ACTION_UNITS)
    assert error == (1.0, pytest.approx(8 / 3), 3)
    assert action_units.action_unit_error(gt, gt, action_units.ACTION_UNITS) == (0.0, 0.0, 4)


def test_blendshapes_become_intensities() -> None:
    shapes = np.zeros((2, 52))
    shapes[0, [9, 10]] = 1.0, 0.5  # eyeBlinkLeft, eyeBlinkRight
    shapes[1, 25] = 0.4  # jawOpen
    units = dict(zip(action_units.ACTION_UNITS, action_units.from_blendshapes(shapes).T))
    assert units["AU45"].tolist() == [3.75, 0.0] and units["AU26"].tolist() == [0.0, 2.0]
    assert sum(values.sum() for values in units.values()) == 5.75


def test_columns_of_the_blendshapes_are_those_of_the_model() -> None:
    model, clip = SHARED / "models/face_landmarker.task", SHARED / "clips/obama.mp4"
    if not (model.is_file() and clip.is_file()):
        pytest.skip("no ../shared/models/face_landmarker.task or ../shared/clips/obama.mp4")
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    from nerfstudio_talking.media.reading import read_frames

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=model.read_bytes()), output_face_blendshapes=True
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        frame = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=next(read_frames(clip)))
        names = [shape.category_name for shape in landmarker.detect(frame).face_blendshapes[0]]
    wanted = {
        "AU01": ["browInnerUp"],
        "AU02": ["browOuterUpLeft", "browOuterUpRight"],
        "AU04": ["browDownLeft", "browDownRight"],
        "AU05": ["eyeWideLeft", "eyeWideRight"],
        "AU06": ["cheekSquintLeft", "cheekSquintRight"],
        "AU07": ["eyeSquintLeft", "eyeSquintRight"],
        "AU09": ["noseSneerLeft", "noseSneerRight"],
        "AU45": ["eyeBlinkLeft", "eyeBlinkRight"],
        "AU10": ["mouthUpperUpLeft", "mouthUpperUpRight"],
        "AU12": ["mouthSmileLeft", "mouthSmileRight"],
        "AU14": ["mouthDimpleLeft", "mouthDimpleRight"],
        "AU15": ["mouthFrownLeft", "mouthFrownRight"],
        "AU17": ["mouthShrugLower"],
        "AU20": ["mouthStretchLeft", "mouthStretchRight"],
        "AU23": ["mouthPressLeft", "mouthPressRight"],
        "AU25": ["mouthLowerDownLeft", "mouthLowerDownRight"],
        "AU26": ["jawOpen"],
    }
    assert {unit: [names[i] for i in columns] for unit, columns in action_units.BLENDSHAPES.items()} == wanted


def test_geometry_tells_mouth_from_brows_whatever_the_pose() -> None:
    def error(a: np.ndarray, b: np.ndarray) -> action_units.ActionUnitError:
        tables = [action_units.from_landmarks(points[None]) for points in (a, b)]
        return action_units.action_unit_error(tables[0], tables[1], action_units.GEOMETRY_UNITS)

    face = mesh(0.1)
    opened, raised = error(mesh(0.25), face), error(mesh(0.1, brows=0.06), face)
    assert opened.upper == pytest.approx(0) and opened.lower > 1
    assert raised.lower == pytest.approx(0) and raised.upper == pytest.approx((5 * 0.06 / 0.12) ** 2)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert error(1.7 * face @ turn.T + 20, face) == (pytest.approx(0), pytest.approx(0), 1)
    table = action_units.from_landmarks(mesh(0.25)[None]) - action_units.from_landmarks(face[None])
    assert table[0, action_units.GEOMETRY_UNITS.index("AU25")] == pytest.approx(5 * 0.15 / 0.30)


def test_openface_csv(tmp_path: Path) -> None:
    path = tmp_path / "au.csv"
    names = [f" {name}_r" for name in action_units.ACTION_UNITS]
    rows = [f"{frame}, {success}, " + ", ".join(["1.5"] * 17) for frame, success in ((1, 1), (2, 0), (4, 1))]
    path.write_text("\n".join([", ".join(["frame", "success"]) + "," + ",".join(names), *rows]) + "\n")
    table = action_units.read_openface(path)
    assert table.shape == (4, 17) and (table[[0, 3]] == 1.5).all() and np.isnan(table[1:3]).all()
    path.write_text("frame, AU45_r\n1, 0\n")
    with pytest.raises(TalkingError, match="no column AU01_r"):
        action_units.read_openface(path)
    with pytest.raises(TalkingError, match="OpenFace"):
        action_units.read_openface(tmp_path / "absent.csv")


# --- SyncNet


def mfcc_by_hand(samples: np.ndarray) -> np.ndarray:
    """python_speech_features.mfcc at its defaults, as its documentation describes it, one window at a time."""
    signal = np.round(samples.astype(float) * 32767)
    signal = np.append(signal[0], signal[1:] - 0.97 * signal[:-1])
    rows = 1 + int(np.ceil((len(signal) - 400) / 160))
    signal = np.append(signal, np.zeros((rows - 1) * 160 + 400 - len(signal)))
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mel / 2595) - 1) / 16000).astype(int)
    out = np.zeros((rows, 13))
    for row in range(rows):
        power = np.abs(np.fft.fft(signal[row * 160 : row * 160 + 400], 512)[:257]) ** 2 / 512
        bands = np.zeros(26)
        for j in range(26):
            for i in range(edges[j], edges[j + 1]):
                bands[j] += power[i] * (i - edges[j]) / (edges[j + 1] - edges[j])
            for i in range(edges[j + 1], edges[j + 2]):
                bands[j] += power[i] * (edges[j + 2] - i) / (edges[j + 2] - edges[j + 1])
        bands[bands == 0] = np.finfo(float).eps
        cepstrum = dct(np.log(bands), type=2, norm="ortho")[:13]
        out[row] = cepstrum * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
        out[row, 0] = np.log(power.sum())
    return out


def test_mfcc_of_syncnet() -> None:
    samples = speech(0.5, seed=8)[1][:7777]
    np.testing.assert_allclose(syncnet.syncnet_mfcc(samples), mfcc_by_hand(samples), atol=1e-4)


def test_syncnet_has_the_layers_of_its_weights(tmp_path: Path) -> None:
    network = syncnet.SyncNet()
    state = network.state_dict()
    published = {  # shapes in syncnet_v2.model
        "netcnnaud.0.weight": (64, 1, 3, 3),
        "netcnnaud.4.weight": (192, 64, 3, 3),
        "netcnnaud.8.weight": (384, 192, 3, 3),
        "netcnnaud.11.weight": (256, 384, 3, 3),
        "netcnnaud.14.weight": (256, 256, 3, 3),
        "netcnnaud.18.weight": (512, 256, 5, 4),
        "netcnnaud.19.running_var": (512,),
        "netfcaud.0.weight": (512, 512),
        "netfcaud.1.running_mean": (512,),
        "netfcaud.3.weight": (1024, 512),
        "netfclip.3.bias": (1024,),
        "netcnnlip.0.weight": (96, 3, 5, 7, 7),
        "netcnnlip.4.weight": (256, 96, 1, 5, 5),
        "netcnnlip.8.weight": (256, 256, 1, 3, 3),
        "netcnnlip.11.weight": (256, 256, 1, 3, 3),
        "netcnnlip.14.weight": (256, 256, 1, 3, 3),
        "netcnnlip.18.weight": (512, 256, 1, 6, 6),
        "netcnnlip.19.weight": (512,),
    }
    assert {name: tuple(state[name].shape) for name in published} == published
    path = tmp_path / "syncnet_v2.model"
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    loaded = syncnet.load_syncnet(path)
    assert torch.equal(loaded.netfclip[3].weight, network.netfclip[3].weight) and not loaded.training  # type: ignore[arg-type]
    crops = np.random.default_rng(0).integers(0, 255, (14, 224, 224, 3)).astype(np.uint8)
    score = syncnet.syncnet_score(crops, speech(0.56, seed=8)[1], FPS, loaded)
    assert np.isfinite(score.distance) and score.confidence >= 0
    assert np.isnan(syncnet.syncnet_score(crops[:8], speech(0.56, seed=8)[1], FPS, loaded).distance)
    torch.save({"netfcaud.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(TalkingError, match="netcnnaud"):
        syncnet.load_syncnet(path)
    with pytest.raises(TalkingError, match="no such file"):
        syncnet.load_syncnet(tmp_path / "absent.model")


@pytest.mark.parametrize("lag", [-6, 0, 9])
def test_lag_and_confidence_from_features(lag: int) -> None:
    audio = torch.randn(80, 32, generator=torch.Generator().manual_seed(0))
    lips = torch.roll(audio, -lag, 0)  # lips of frame i go with the audio of frame i + lag: late by lag
    score = syncnet.sync_from_features(lips, audio)
    distances = torch.cdist(lips, audio)
    chance = float(distances.mean())
    assert score.lag == lag
    assert score.confidence > 0.5 * chance and score.distance < 0.3 * chance
    unrelated = syncnet.sync_from_features(torch.randn(80, 32, generator=torch.Generator().manual_seed(1)), audio)
    assert unrelated.confidence < 0.3 * score.confidence


def test_face_crops_hold_the_face() -> None:
    frame = np.full((300, 300, 3), 50, np.uint8)
    points = np.random.default_rng(0).uniform(100, 200, (478, 2))
    points[[0, 1]] = (100, 100), (200, 200)
    frame[100:200, 100:200] = 200
    crops = syncnet.face_crops([frame] * 3, np.stack([points, points * np.nan, points]))
    bright = (crops > 125).all(-1)
    assert (bright[0] == bright[1]).all()  # the face that was not found is where its neighbours are
    rows, columns = np.nonzero(bright[0])
    side = 224 / 1.4  # the face is 1 / 1.4 of the crop, at its top and its middle
    assert np.ptp(rows) == pytest.approx(side, abs=3) and np.ptp(columns) == pytest.approx(side, abs=3)
    assert rows.min() <= 1 and columns.min() == pytest.approx((224 - side) / 2, abs=2)


# --- steadiness


def test_jitter_is_what_the_head_does_not_explain() -> None:
    rng = np.random.default_rng(0)
    head = np.cumsum(rng.standard_normal((400, 6)), axis=0)
    follows = np.einsum("sk,kci->sci", head, rng.standard_normal((6, 8, 2)))
    texture = np.arange(8.0)
    assert stability.torso_jitter(follows, head, texture) == pytest.approx(0, abs=1e-9)
    noise = rng.standard_normal((400, 8, 2))
    noise[:, :4] *= 9  # plain cells, where motion cannot be seen, do not count
    # independent noise of unit variance in x and y: its differences have variance 2 each
    assert stability.torso_jitter(follows + noise, head, texture) == pytest.approx(2.0, rel=0.05)
    assert stability.torso_jitter(follows + 2 * noise, head, texture) == pytest.approx(4.0, rel=0.05)
    assert np.isnan(stability.torso_jitter(follows[:15], head[:15], texture))


def test_warping_leaves_what_comes_and_goes() -> None:
    before = (image(128, 128) * 255).numpy()
    after = shift(before, (1, 2, 0), order=3, mode="nearest").clip(0, 255).astype(np.uint8)
    before = before.astype(np.uint8)
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    noise = np.random.default_rng(0).integers(-6, 7, after.shape)
    noisy = (after.astype(int) + noise).clip(0, 255).astype(np.uint8)
    moved = stability.warping_error(before, after, mask)
    assert moved < 0.25 * stability.flicker((before, after), mask)
    assert stability.warping_error(before, noisy, mask) == pytest.approx(np.abs(noise).mean(), rel=0.15)
    assert stability.warping_error(after, after, mask) == 0
    assert np.isnan(stability.warping_error(before, after, np.zeros_like(mask)))


def test_cells_have_the_motion_of_what_lies_in_them() -> None:
    flow = np.broadcast_to(np.float32([2, 1]), (128, 128, 2)).copy()
    flow[64:] *= 3
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    cells = stability.cell_motion(flow, mask).reshape(16, 16, 2)
    assert np.isnan(cells[3]).all() and np.isnan(cells[:, 12]).all()
    np.testing.assert_allclose(cells[4:8, 4:12], np.broadcast_to([2, 1], (4, 8, 2)))
    np.testing.assert_allclose(cells[8:12, 4:12], np.broadcast_to([6, 3], (4, 8, 2)))


def test_texture_is_where_both_directions_change() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    edge, spots = flat.copy(), flat.copy()
    edge[:, 33:] = 200
    spots[::5, ::5] = 200
    assert stability.cell_texture(flat).max() == pytest.approx(0, abs=1e-3)
    assert stability.cell_texture(edge).max() == pytest.approx(0, abs=1e-2)
    assert np.median(stability.cell_texture(spots)) > 10


def test_head_motion_by_hand() -> None:
    before = mesh()
    centre = before[list(stability.RIGID_POINTS)].mean(axis=0)
    moved = stability.head_motion(before, (before - centre) * 1.1 + centre + (3, -2))
    np.testing.assert_allclose(moved, (3, -2, 0.1, 0, 0, 0.1), atol=1e-9)
    assert np.isnan(stability.head_motion(before, before * np.nan)).all()


def test_flicker_by_hand() -> None:
    mask = np.ones((2, 2), bool)
    level = [np.full((2, 2, 3), value, np.uint8) for value in (10, 14, 200, 206)]
    assert stability.flicker((level[0], level[1]), mask) == 4
    assert stability.temporal_error((level[2], level[3]), (level[0], level[1]), mask) == 2  # 6 instead of 4
    assert stability.temporal_error((level[1], level[0]), (level[0], level[1]), mask) == 8
    assert np.isnan(stability.flicker((level[0], level[1]), ~mask))


def test_blinks_are_counted_once() -> None:
    eyes = np.ones((60, 2))
    eyes[10:14] = 0.1
    eyes[12] = 0.5  # not yet open: the same blink
    eyes[30] = 0.2
    eyes[40:42] = 0.6  # half a wink
    eyes[50] = np.nan
    assert stability.blinks(eyes) == 2
    assert stability.blinks(np.full((10, 2), np.nan)) == 0


def test_lips_closed_in_silence() -> None:
    rate, samples = 16000, np.zeros(16000 * 2, np.float32)
    samples[:16000] = 0.3 * np.sin(np.arange(16000) * 0.3)
    silent = stability.silent_frames(samples, FPS, 50, rate)
    assert not silent[:27].any() and silent[27:].all()  # two frames after the audio are left to the closing lips
    lips = np.full(50, 0.2)
    lips[30:40] = 0.0
    assert stability.closed_in_silence(lips, silent, 0.2) == pytest.approx(10 / 23)
    assert np.isnan(stability.closed_in_silence(lips, ~silent & False, 0.2))


# --- accumulators


def talking_mesh(lips: np.ndarray) -> np.ndarray:
    points = np.stack([mesh(0.15 * value) for value in lips])
    np.testing.assert_allclose(lip_opening(points), 0.15 * lips, atol=1e-5)
    return points


def motion_scores(rendered: np.ndarray, gt: np.ndarray, samples: np.ndarray | None) -> dict[str, float]:
    metric = FaceMotion(FPS, None if samples is None else (samples, 16000))
    for a, b in zip(rendered, gt):
        metric.update(a, b)
    return metric.compute()


def test_identical_faces_are_perfect() -> None:
    lips, samples = speech(8, seed=11)
    faces = talking_mesh(lips)
    scores = motion_scores(faces, faces, samples)
    assert scores["lmd"] == scores["lmd_relative"] == scores["faces_missed"] == scores["lip_lag"] == 0
    assert scores["aue_geometry_upper"] == scores["aue_geometry_lower"] == 0
    assert scores["lip_correlation"] == pytest.approx(1)
    assert scores["sync_score"] == scores["gt_sync_score"] > 2 * scores["sync_null_max"]
    assert abs(scores["sync_lag"]) < 0.6
    noisy_faces = faces + np.random.default_rng(0).normal(0, 2, faces.shape)
    worse = motion_scores(noisy_faces, faces, samples)
    assert worse["lmd"] > 1 and worse["aue_geometry_lower"] > 0.01 and worse["lip_correlation"] < 0.99
    assert worse["sync_score"] < scores["sync_score"]
    assert worse["gt_sync_score"] == scores["gt_sync_score"]


@pytest.mark.parametrize("k", [-4, 5])
def test_shift_of_lips_and_of_audio_move_the_lag(k: int) -> None:
    lips, samples = speech(8, seed=12)
    faces = talking_mesh(lips)
    lips_late = motion_scores(np.roll(faces, k, axis=0), faces, samples)
    assert lips_late["lip_lag"] == k and lips_late["sync_lag"] == pytest.approx(-k, abs=0.6)
    audio_late = motion_scores(faces, faces, late(samples, k))
    assert audio_late["lip_lag"] == 0 and audio_late["sync_lag"] == pytest.approx(k, abs=0.6)
    assert audio_late["sync_score_in_place"] < audio_late["sync_score"]


def test_swapped_audio_falls_to_the_null() -> None:
    lips, samples = speech(10, seed=13)
    faces = talking_mesh(lips)
    right, swapped = motion_scores(faces, faces, samples), motion_scores(faces, faces, speech(10, seed=14)[1])
    assert swapped["sync_score"] < 1.5 * swapped["sync_null_max"] < right["sync_score"]


def test_without_audio_nothing_is_said_of_it() -> None:
    faces = talking_mesh(speech(2, seed=15)[0])
    assert not any("sync" in name or "silence" in name for name in motion_scores(faces, faces, None))


def test_quality_returns_the_frame_and_computes_the_mean() -> None:
    metric, clean = ImageQuality(), image()
    per_frame = [metric(noisy(clean, sigma), clean, {"face": None, "mouth": box}) for sigma, box in NOISES]
    total = metric.compute()
    assert total["psnr"] == pytest.approx(np.mean([row["psnr"] for row in per_frame]))
    assert total["ssim_mouth"] == pytest.approx(per_frame[1]["ssim_mouth"])  # the only frame with a mouth
    assert "psnr_face" not in total
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert metric.compute() == {}


NOISES = ((0.05, None), (0.1, (10.0, 10.0, 40.0, 40.0)), (0.2, None))


def test_steadiness_over_a_break() -> None:
    frames = [(image(64, 64, seed) * 255).to(torch.uint8).numpy() for seed in range(4)]
    everywhere = FrameRegions(torso=np.ones((64, 64), bool), background=np.ones((64, 64), bool))
    metric = Steadiness()
    for i, frame in enumerate(frames):
        if i == 2:
            metric.restart()
        metric.update(frame, frame, everywhere, mesh(), mesh())
    steps = [np.abs(frames[i + 1].astype(int) - frames[i]).mean() for i in (0, 2)]  # not from 1 to 2
    scores = metric.compute()
    assert scores["background_flicker"] == pytest.approx(np.mean(steps)) == scores["gt_background_flicker"]
    assert scores["torso_flicker"] == 0


def test_regions_by_landmarks_and_person() -> None:
    points = mesh()
    points[:, 0] = np.interp(points[:, 0], (points[:, 0].min(), points[:, 0].max()), (80, 220))
    person = np.zeros((320, 320), np.uint8)
    person[40:, 60:240] = 255
    regions = regions_from_landmarks(points, person)
    assert regions.face is not None and regions.face[0] == pytest.approx(80) and regions.face[2] == pytest.approx(220)
    chin = round(points[152, 1] + 0.1 * (regions.face[3] - regions.face[1]))
    assert regions.torso is not None and not regions.torso[:chin].any() and regions.torso[chin + 5, 150]
    assert regions.background is not None and regions.background[100, 10] and not regions.background[100, 100]
    nobody = regions_from_landmarks(points * np.nan, person)
    assert nobody.face is None and nobody.torso is None and nobody.background is not None


def test_what_is_left_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    scores = PortraitScores(FPS, faces=False)
    parsing = np.zeros((72, 80), np.uint8)
    parsing[20:60, 20:60] = CLASS_ID["skin"]
    frame = scores.update(noisy(image(), 0.1), image(), parsing)
    assert set(frame) == {"psnr", "ssim", "psnr_face", "ssim_face"}
    video = scores.compute()
    assert video["psnr"] == pytest.approx(frame["psnr"])
    assert {"lpips", "fid", "sync_score"} <= set(scores.left_out)
    assert all(isinstance(value, float) and np.isfinite(value) for value in video.values())
    assert scores.always == ("psnr", "ssim") and scores.rows == [frame]
    scores.reset()
    assert scores.rows == [] and scores.compute() == {}


def test_lpips_is_counted_where_weights_are(alexnet: tuple[Path, nn.Module]) -> None:
    scores = PortraitScores(FPS, lpips_weights=alexnet[0], faces=False, fid=False)
    frame = scores.update(noisy(image(), 0.1), image())
    assert frame["lpips"] > 0 and scores.compute()["lpips"] == pytest.approx(frame["lpips"])
    assert "lpips" not in scores.left_out and scores.left_out["fid"] == "not asked for"
