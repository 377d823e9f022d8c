"""Make a dataset of a video and train a portrait of it, in Python.

python process_and_train.py my_video.mp4 runs/me
"""

import copy
import sys
from pathlib import Path

from nerfstudio_talking import process_video
from nerfstudio_talking.process.config import ProcessConfig


def main(video: Path, folder: Path, steps: int = 2500, **options) -> Path:
    """Path of the config.yml of the trained portrait."""
    data = process_video(ProcessConfig(video, folder / "data", **({"size": 256} | options)))

    from nerfstudio_talking.method_configs.splat_portrait import splat_portrait_small

    config = copy.deepcopy(splat_portrait_small.config)  # what `ns-train splat-portrait-small` trains
    config.pipeline.datamanager.data = data
    config.output_dir, config.experiment_name, config.timestamp = folder, "portrait", "run"
    config.max_num_iterations, config.machine.device_type, config.vis = steps, "cpu", "tensorboard"
    trainer = config.setup(local_rank=0, world_size=1)
    config.save_config()
    trainer.setup()
    trainer.train()
    return config.get_base_dir() / "config.yml"


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])))
