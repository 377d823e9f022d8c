import shutil

import numpy as np

from nerfstudio_talking.dataset_io.sequence import load_parsing, load_sequence
from nerfstudio_talking.dataset_io.track import load_track, save_track
from nerfstudio_talking.dataset_io.validation import load_any_sequence, sequence_problems


def test_a_valid_dataset_has_no_problem(talking_dataset):
    sequence = load_any_sequence(talking_dataset)
    assert sequence_problems(sequence) == []
    assert load_parsing(sequence, 0).max() <= 10


def test_every_problem_is_named(talking_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(talking_dataset, copy)
    track = load_track(copy)
    poses = track.camera_to_worlds.copy()
    poses[:, :, 3] *= 1000
    poses[3, :, :3] *= 2
    save_track(track.replace(camera_to_worlds=poses, audio=np.zeros_like(track.audio)), copy)
    image = copy / "images/000007.jpg"
    image.write_bytes(image.read_bytes()[:400])
    problems = "\n".join(sequence_problems(load_sequence(copy)))
    for word in ("not rotations", "metres", "silent", "000007.jpg"):
        assert word in problems
