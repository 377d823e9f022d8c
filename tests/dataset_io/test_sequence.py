import json
import shutil

import pytest
from PIL import Image

from nerfstudio_talking.dataset_io.sequence import load_sequence, split_frames
from nerfstudio_talking.io.errors import TalkingError


def test_split_is_the_fields():
    train, evaluate = split_frames(7999)
    assert (len(train), len(evaluate)) == (7271, 728)  # the real val file of AD-NeRF's Obama holds 728 frames
    assert evaluate[0] == 7271
    assert [len(part) for part in split_frames(2)] == [1, 1]
    assert [len(part) for part in split_frames(1)] == [1, 1]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "track.json").unlink(), "never finished"),
        (lambda d: (d / "track.npz").write_bytes((d / "track.npz").read_bytes()[:500]), "readable track"),
        (lambda d: (d / "track.json").write_text("{"), "readable track"),
        (lambda d: (d / "images/000004.jpg").unlink(), "1 of them missing"),
        (lambda d: (d / "background.png").unlink(), "no such file"),
        (lambda d: (d / "torso/torso.json").unlink(), "references"),
        (lambda d: Image.new("RGB", (9, 9)).save(d / "images/000000.jpg"), "48x48"),
    ],
)
def test_truncated_dataset_is_refused(talking_dataset, tmp_path, damage, message):
    copy = tmp_path / "copy"
    shutil.copytree(talking_dataset, copy)
    damage(copy)
    with pytest.raises(TalkingError, match=message):
        load_sequence(copy)


def test_other_schema_is_refused(talking_dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(talking_dataset, copy)
    record = json.loads((copy / "track.json").read_text())
    (copy / "track.json").write_text(json.dumps({**record, "schema": 99}))
    with pytest.raises(TalkingError, match="schema 1"):
        load_sequence(copy)
