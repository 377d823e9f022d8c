from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.motions import make_motion_model, make_voice

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.motion.audio_features import cepstral_windows
from nerfstudio_talking.motion.generation import generate_motion
from nerfstudio_talking.motion.model import MotionModel, load_model, save_model


@pytest.fixture(scope="module")
def model():
    return make_motion_model()


def test_a_personal_model_comes_back(model, tmp_path):
    save_model(model, tmp_path / "p.pt")
    loaded = load_model(tmp_path / "p.pt", personal=True)
    first, again = (generate_motion(m, make_voice(2), seed=7) for m in (model, loaded))
    for name in ("pose", "expression", "lips", "eyes"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))


def test_a_general_model_comes_back(model, tmp_path):
    save_model(MotionModel(model.network, model.network_config, model.basis), tmp_path / "g.pt")
    loaded = load_model(tmp_path / "g.pt")
    assert loaded.person is None
    patches = cepstral_windows(make_voice(2), 25.0, 50)
    outputs = model.network.predict(torch.from_numpy(patches)).double().numpy()
    np.testing.assert_array_equal(np.concatenate(loaded.predict(patches), axis=1), outputs)
    with pytest.raises(TalkingError, match="finetune"):
        load_model(tmp_path / "g.pt", personal=True)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "junk.pt").write_bytes(b"no model")
    for name in ("junk.pt", "none.pt"):
        with pytest.raises(TalkingError, match="motion model"):
            load_model(tmp_path / name)
