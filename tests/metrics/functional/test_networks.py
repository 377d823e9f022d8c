from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nerfstudio_talking.io import weights
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.metrics.functional.networks import (
    ALEXNET_FILES,
    INCEPTION_FILES,
    inception_network,
    lpips_network,
)


def test_bad_weights_are_refused(tmp_path: Path) -> None:
    broken, other = tmp_path / "broken.pth", tmp_path / "other.pth"
    broken.write_bytes(b"no weights")
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    with pytest.raises(TalkingError, match="AlexNet"):
        lpips_network(broken)
    with pytest.raises(TalkingError, match=r"features\.0\.weight"):
        lpips_network(other)
    with pytest.raises(TalkingError, match="Inception"):
        inception_network(broken)
    with pytest.raises(TalkingError, match="no such file"):
        weights.find_weights(tmp_path / "absent.pth", ALEXNET_FILES)


def test_weights_are_found_in_the_torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert weights.find_weights(None, INCEPTION_FILES) is None
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / INCEPTION_FILES[1]
    file.touch()
    assert weights.find_weights(None, INCEPTION_FILES) == file
