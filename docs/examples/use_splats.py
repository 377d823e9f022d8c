"""The Gaussians of a splat portrait: as arrays, as a .ply file, and seen from the side.

python use_splats.py outputs/me/splat-portrait/TIME/config.yml face.ply side.png
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from nerfstudio_talking.inference.checkpoints import load_portrait
from nerfstudio_talking.media.writing import SYNTHETIC_NOTICE
from nerfstudio_talking.splatting.ply import write_ply


def main(config: Path, ply: Path, image: Path, frame: int = 0) -> np.ndarray:
    """The image from the side, uint8 RGB."""
    _, portrait = load_portrait(config)
    gaussians = portrait.gaussians_of(frame)  # head, mouth and torso: metres, the head at the origin, y up
    print(f"{len(gaussians.means)} Gaussians, mean opacity {float(gaussians.opacities.mean()):.2f}")
    write_ply(gaussians, ply, [SYNTHETIC_NOTICE])

    track = portrait.track
    turn = Rotation.from_euler("y", 15, degrees=True).as_matrix().astype(np.float32)
    poses = turn @ track.camera_to_worlds[frame : frame + 1]  # the world is the head: the camera turns about it
    camera = track.camera.to_nerfstudio(poses, track.times[frame : frame + 1])  # a time says which frame is shown
    rgb = portrait.get_outputs_for_camera(camera)["rgb"]
    side = (rgb.clamp(0, 1) * 255).byte().cpu().numpy()
    Image.fromarray(side).save(image)
    return side


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
