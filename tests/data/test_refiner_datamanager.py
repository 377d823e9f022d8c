"""The refiner's data: what it refuses."""

from __future__ import annotations

import pytest
from helpers.refiners import trainer_config

from nerfstudio_talking.io.errors import TalkingError


def test_the_personal_mesh_needs_facemesh_landmarks(talking_dataset, tmp_path):
    with pytest.raises(TalkingError, match="478 FaceMesh"):  # the dataset has 68
        trainer_config(talking_dataset, None, tmp_path, 1).setup().setup()


def test_every_further_dataset_needs_its_rendering(talking_dataset, blurred, tmp_path):
    config = trainer_config(talking_dataset, blurred, tmp_path, 1)
    config.pipeline.datamanager.also = (talking_dataset, talking_dataset)
    config.pipeline.datamanager.also_rendered = (talking_dataset,)
    with pytest.raises(TalkingError, match="also-rendered"):
        config.setup().setup()
