"""A tiny trained portrait and its bake, made once for the tests of this folder."""

from __future__ import annotations

import pytest
from helpers.portraits import train_in_process

from nerfstudio_talking.baking.config import BakeConfig

TINY = BakeConfig(cell=0.4, views=12, rays_per_view=2048, conditions=48)


@pytest.fixture(scope="package")
def pipeline(talking_dataset):
    return train_in_process(talking_dataset, 40)


@pytest.fixture(scope="package")
def settings() -> BakeConfig:
    return TINY


@pytest.fixture(scope="package")
def bake(pipeline):
    from nerfstudio_talking.baking.fit import fit_bake

    return fit_bake(pipeline.model, TINY)
