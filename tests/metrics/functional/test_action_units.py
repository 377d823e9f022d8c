from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.faces import face_mesh
from helpers.paths import needs_clips, shared_file

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics.functional import action_units


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


@needs_clips("models/face_landmarker.task", "clips/obama.mp4")
def test_columns_of_the_blendshapes_are_those_of_the_model() -> None:
    model, clip = shared_file("models/face_landmarker.task"), shared_file("clips/obama.mp4")
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

    face = face_mesh(0.1)
    opened, raised = error(face_mesh(0.25), face), error(face_mesh(0.1, brows=0.06), face)
    assert opened.upper == pytest.approx(0) and opened.lower > 1
    assert raised.lower == pytest.approx(0) and raised.upper == pytest.approx((5 * 0.06 / 0.12) ** 2)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    assert error(1.7 * face @ turn.T + 20, face) == (pytest.approx(0), pytest.approx(0), 1)
    table = action_units.from_landmarks(face_mesh(0.25)[None]) - action_units.from_landmarks(face[None])
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
    header = ", ".join(["frame", "success"]) + "," + ",".join(names)
    for row in ("1000000000, 1, " + ", ".join(["1.5"] * 17), "1, 1, " + "1" * 200_000):  # no memory for that
        path.write_text(f"{header}\n{row}\n")
        with pytest.raises(TalkingError, match=r"au\.csv"):
            action_units.read_openface(path)
