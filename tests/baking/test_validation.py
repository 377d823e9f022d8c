"""Validation of a bake."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nerfstudio_talking.baking.fit import fit_bake
from nerfstudio_talking.baking.renderer import BakeRenderer
from nerfstudio_talking.baking.validation import BakeValidation, validate_bake
from nerfstudio_talking.dataset_io.sequence import load_parsing
from nerfstudio_talking.media.images import read_image
from nerfstudio_talking.models.evaluation import mouth_pixels


def test_baked_frames_are_those_of_the_portrait(pipeline, bake):
    result = validate_bake(pipeline.model, BakeRenderer(pipeline.model, bake))
    assert result.full > 15  # it has learned something that can be lost
    assert result.agreement > 35
    assert result.full - result.baked < 0.2


def test_results_against_numpy(pipeline, bake):
    model, renderer = pipeline.model, BakeRenderer(pipeline.model, bake)
    result = validate_bake(model, renderer)
    whole, mouth = [], []
    for frame in model.sequence.eval_frames.tolist():
        gt = read_image(model.sequence.image_paths[frame], "RGB") / 255
        error = (renderer.render(frame, 48, 48)[0].numpy().astype(np.float64) - gt) ** 2
        rows, columns = mouth_pixels(load_parsing(model.sequence, frame))
        whole.append(-10 * np.log10(error.mean()))
        mouth.append(-10 * np.log10(error[rows, columns].mean()))
    assert result.baked == pytest.approx(np.mean(whole), abs=1e-4)
    assert result.mouth_baked == pytest.approx(np.mean(mouth), abs=1e-4)


def test_a_coarse_bake_is_worse(pipeline, bake, settings):
    """The validation sees the difference that it is there for."""
    coarse = fit_bake(pipeline.model, replace(settings, cell=6.0))
    assert coarse.grid.num_vertices < bake.grid.num_vertices / 20
    worse, better = (validate_bake(pipeline.model, BakeRenderer(pipeline.model, b)) for b in (coarse, bake))
    assert worse.agreement < better.agreement - 5


def test_the_loss_is_the_greater_one():
    assert BakeValidation(30.0, 29.9, 40.0, 25.0, 24.5).loss == pytest.approx(0.5)
    assert BakeValidation(30.0, 29.6, 40.0, 25.0, 24.9).loss == pytest.approx(0.4)
    assert BakeValidation(30.0, 29.9, 40.0, math.nan, math.nan).loss == pytest.approx(0.1)
