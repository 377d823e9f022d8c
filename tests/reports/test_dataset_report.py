"""The report of a dataset: whole, escaped, self-contained."""

import numpy as np
import pytest
from helpers.html import PageReader
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfstudio_talking.cameras.pinhole import PinholeCamera
from nerfstudio_talking.dataset_io.track import TalkingTrack
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.reports.dataset_report import head_motion, write_report


def dataset(folder, frames=9, size=48):
    """A small dataset folder and its track."""
    import soundfile

    rng = np.random.default_rng(0)
    for name in ("images", "parsing", "torso"):
        (folder / name).mkdir()
    for index in range(frames):
        image = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index:06d}.jpg")
        Image.fromarray(image[..., 0] % 11).save(folder / "parsing" / f"{index:06d}.png")
    Image.fromarray(image).save(folder / "background.png")
    Image.fromarray(np.dstack([image, image[..., :1]])).save(folder / "torso" / "00.png")
    samples = np.concatenate([np.zeros(frames * 320), 0.5 * np.ones(frames * 320)])
    soundfile.write(folder / "audio.wav", samples, 16000)
    poses = np.zeros((frames, 3, 4), dtype=np.float32)
    poses[:, :, :3] = Rotation.from_euler("y", np.linspace(-20, 20, frames)[:, None], degrees=True).as_matrix()
    poses[:, :, 3] = poses[:, :, :3] @ (0, 0, 0.8)
    lips = np.linspace(0, 1, frames, dtype=np.float32)
    lips[3] = np.nan
    landmarks = rng.uniform(0, size, (frames, 478, 2)).astype(np.float32)
    landmarks[2] = np.nan
    return TalkingTrack(
        fps=25.0,
        camera=PinholeCamera(100.0, size, size),
        camera_to_worlds=poses,
        audio=rng.normal(size=(frames, 5, 7)).astype(np.float32),
        audio_kind="logmel",
        eyes=rng.uniform(size=(frames, 2)).astype(np.float32),
        lips=lips,
        landmarks=landmarks,
        provenance={
            "video": "<script>alert(1)</script> & co.mp4",
            "camera_to_worlds": {"reprojection_px": 0.4321, "frames": list(range(40))},
            "findings": [["audio-offset", "The audio seems 5 frames <late>."]],
        },
    )


def test_the_page_is_whole_and_escaped(tmp_path):
    folder = tmp_path / "Ordner mit ü"
    folder.mkdir()
    path = write_report(folder, dataset(folder))
    assert path == folder / "report.html"
    assert not list(folder.glob("*.part"))
    page = path.read_text(encoding="utf-8")
    assert "<script" not in page
    reader = PageReader()
    reader.feed(page)
    assert reader.open == []
    text = " ".join(reader.text)
    for words in ("<script>alert(1)</script> & co.mp4", "5 frames <late>", "0.4321", "40 values", "camera_to_worlds"):
        assert words in text
    assert len(reader.images) == 5 + 5 + 2 + 1  # frames, maps, background and torso, audio features
    assert all(source.startswith("data:image/") for source in reader.images)
    assert "http" not in page
    assert reader.lines == 2 + 1 + 2 + 3 + 3  # lips in two pieces, loudness, eyes, rotation, position


def test_optional_columns_may_be_absent(tmp_path):
    track = dataset(tmp_path).replace(lips=None, landmarks=None, provenance={})
    (tmp_path / "audio.wav").unlink()
    page = write_report(tmp_path, track).read_text(encoding="utf-8")
    assert "No warnings." in page
    assert "Lips and audio" not in page


def test_a_missing_image_is_an_error(tmp_path):
    track = dataset(tmp_path)
    (tmp_path / "parsing" / "000004.png").unlink()
    with pytest.raises(TalkingError, match=r"000004\.png"):
        write_report(tmp_path, track)
    assert not (tmp_path / "report.html").exists()


def test_projection_and_motion(tmp_path):
    track = dataset(tmp_path)
    pixels = track.camera.project(np.array([[0, 0, 0], [0.08, 0, 0], [0, 0.08, 0]]), track.camera_to_worlds[4:5])[
        0
    ]  # seen straight on, from 0.8 m
    np.testing.assert_allclose(pixels, [(24, 24), (34, 24), (24, 14)], atol=1e-3)
    angles, position = head_motion(track.camera_to_worlds)
    # the camera going to the right is the head turning to the left
    np.testing.assert_allclose(angles[:, 0], np.linspace(20, -20, 9), atol=1e-3)
    np.testing.assert_allclose(angles[:, 1:], 0, atol=1e-3)
    np.testing.assert_allclose(position, 0, atol=1e-3)
