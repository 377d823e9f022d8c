"""Dataset folders in the format of the AD-NeRF family, with the traps that real ones hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.builders import draw_frame, draw_landmarks, moving_poses, speech_like
from nerfstudio_talking.dataset_io.parsing_labels import AD_NERF_COLOURS, CLASS_ID

IDS = [0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 13]  # holes: frames without landmarks


def write_ad_nerf_dataset(
    folder: Path, size: int = 48, audio: str = "aud_ds.npy", rows: int = 14, ids: Sequence[int] = IDS
) -> None:
    """A folder of the family. The last two frames are for evaluation."""
    total = max(20, max(ids) + 1)
    for name in ("gt_imgs", "parsing", "torso_imgs", "ori_imgs"):
        (folder / name).mkdir(parents=True)
    poses, focal = moving_poses(total), 2.0 * size
    opening, _ = speech_like(total, 0)
    entries = []
    for i in ids:
        image, labels = draw_frame(poses[i], opening[i], size, focal)
        Image.fromarray(image).save(folder / f"gt_imgs/{i}.jpg")
        paint = np.zeros((size, size, 3), np.uint8) + np.uint8(AD_NERF_COLOURS["skin"])
        paint[labels == 0] = AD_NERF_COLOURS["background"]
        paint[labels == CLASS_ID["cloth"]] = AD_NERF_COLOURS["cloth"]
        Image.fromarray(paint).save(folder / f"parsing/{i}.png")
        alpha = np.where(labels == CLASS_ID["cloth"], 255, 0).astype(np.uint8)
        Image.fromarray(np.dstack([image, alpha])).save(folder / f"torso_imgs/{i}.png")
        np.savetxt(folder / f"ori_imgs/{i}.lms", draw_landmarks(poses[i], opening[i], size, focal), "%f")
        matrix = np.vstack([poses[i], [0, 0, 0, 1]]).tolist()
        entries.append({"img_id": i, "aud_id": i, "transform_matrix": matrix})
    header = {"focal_len": focal, "cx": size / 2, "cy": size / 2}
    for name, part in (("train", entries[-3::-1]), ("val", entries[-2:])):  # unsorted
        (folder / f"transforms_{name}.json").write_text(json.dumps({**header, "frames": part}))
    Image.new("RGB", (size, size), (120, 120, 120)).save(folder / "bc.jpg")
    np.save(folder / audio, np.random.default_rng(0).standard_normal((rows, 16, 29)).astype(np.float32))
    lines = ["frame, timestamp, AU01_r, AU45_r"]
    lines += [
        f"{i + 1}, {i / 25:.3f}, 0.1, {1.0 if i == 5 else 0.0}" for i in range(min(ids), max(ids) - 1)
    ]  # shorter than the clip
    (folder / "au.csv").write_text("\n".join(lines))
