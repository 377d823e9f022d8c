"""Let a portrait speak a voice: as a video, and frame by frame.

python drive_portrait.py outputs/me/splat-portrait/TIME/config.yml voice.wav spoken.mp4
"""

import sys
from pathlib import Path

import numpy as np

from nerfstudio_talking import PortraitDriver


def main(config: Path, voice: Path, output: Path) -> float:
    """Mean change from frame to frame, in levels of 255."""
    driver = PortraitDriver.load(config)
    driver.write_video(voice, output)  # with the audio, a watermark and a note that it is synthetic

    width, height = driver.frame_size()
    print(f"{driver.num_frames(voice)} frames of {width}x{height}, {driver.fps:g} per second")
    changes, before = [], None
    for frame in driver.drive(voice, pose="hold", smoothing=2.0, mouth_gain=1.2):  # uint8 RGB, in constant memory
        if before is not None:
            changes.append(np.abs(frame.astype(int) - before).mean())
        before = frame.astype(int)
    return float(np.mean(changes))


if __name__ == "__main__":
    print(main(*map(Path, sys.argv[1:])))
