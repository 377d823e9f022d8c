import json

import pytest

from nerfstudio_talking.process.stages import Workspace, stage_key


def test_a_stage_counts_as_done_for_its_own_key_only(tmp_path):
    space = Workspace(tmp_path / "out")
    space.open()
    key = stage_key("faces", "abc", fps=25.0)
    assert not space.is_done("faces", key)
    space.mark("faces", key, found=3)
    assert space.is_done("faces", key)
    assert not space.is_done("faces", stage_key("faces", "abc", fps=30.0))
    assert json.loads((space.work / "faces.json").read_text())["found"] == 3


def test_a_folder_is_not_moved_after_an_exception(tmp_path):
    space = Workspace(tmp_path / "out")
    space.open()
    with pytest.raises(RuntimeError), space.new_folder("images") as folder:
        (folder / "a").write_text("x")
        raise RuntimeError
    assert not (tmp_path / "out" / "images").exists()


def test_without_track_json_the_folder_is_not_a_dataset(tmp_path):
    space = Workspace(tmp_path / "out")
    space.open()
    (space.folder / "track.json").write_text("{}")
    space.invalidate()
    space.invalidate()  # nothing to delete the second time
    assert not (space.folder / "track.json").exists()
