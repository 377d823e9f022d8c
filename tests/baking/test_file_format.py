"""The file of a bake."""

from __future__ import annotations

import copy

import pytest
import torch

from nerfstudio_talking.baking.file_format import load_bake, save_bake
from nerfstudio_talking.baking.renderer import BakeRenderer
from nerfstudio_talking.io.digests import weights_digest
from nerfstudio_talking.io.errors import TalkingError


def test_round_trip(pipeline, bake, tmp_path):
    model = pipeline.model
    save_bake(bake, tmp_path / "baked.pt")
    again = load_bake(tmp_path / "baked.pt", weights_digest(model))
    assert [path.name for path in tmp_path.iterdir()] == ["baked.pt"]
    images = [BakeRenderer(model, b).render(3, 48, 48)[0] for b in (again, bake)]
    assert torch.equal(*images)


def test_a_bake_of_other_weights_is_refused(pipeline, bake, tmp_path):
    path = tmp_path / "baked.pt"
    save_bake(bake, path)
    other = copy.deepcopy(pipeline.model)
    with torch.no_grad():
        other.field.density_net.layers[0].bias[0] += 1e-3
    with pytest.raises(TalkingError, match="weights"):
        load_bake(path, weights_digest(other))


@pytest.mark.parametrize("content", [b"", b"not a bake", None])
def test_a_broken_file_is_refused(tmp_path, content):
    path = tmp_path / "baked.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TalkingError, match=r"baked\.pt"):
        load_bake(path, "")
