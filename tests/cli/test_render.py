"""`ns-talking render` as a caller of nerfstudio's renderer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from nerfstudio_talking.cli.render import Render
from nerfstudio_talking.io.errors import TalkingError


@pytest.mark.slow
def test_options_are_those_of_nerfstudio() -> None:
    from nerfstudio.scripts.render import RenderCameraPath

    ours, theirs = Render(load_config=Path("c")), RenderCameraPath(load_config=Path("c"))
    shared = [field for field in dataclasses.fields(Render) if field.name != "data"]
    assert len(shared) == 8
    for field in shared:
        assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


def test_missing_camera_path_is_reported(tmp_path: Path) -> None:
    with pytest.raises(TalkingError, match="ns-talking path"):
        Render(load_config=tmp_path / "config.yml", camera_path_filename=tmp_path / "none.json").main()
