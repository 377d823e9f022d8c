"""Score a video of any method against the ground truth.

python score_video.py rendered.mp4 ground_truth.mp4
"""

import sys
from pathlib import Path

from nerfstudio_talking import score_videos
from nerfstudio_talking.metrics.registry import score_infos
from nerfstudio_talking.metrics.settings import ScoreSettings


def main(rendered: Path, gt: Path, gt_frames: str | None = None) -> dict[str, float]:
    """The scores by name."""
    result = score_videos(rendered, gt, ScoreSettings(gt_frames=gt_frames))
    infos = score_infos()  # text, unit, and which way is better
    for name, value in sorted(result.scores.items()):
        if name in infos:
            print(f"{infos[name].title:60} {infos[name].format(value):>10} {infos[name].better}")
    for name, reason in result.left_out.items():
        print(f"Without {name}: {reason}")
    worst = result.per_frame["psnr"].argmin()
    print(f"Worst frame {worst}: {result.per_frame['psnr'][worst]:.1f} dB. {' '.join(result.notes)}")
    return result.scores


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
