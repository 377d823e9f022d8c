"""The mouth prior: its networks against scipy, its files, and what ships."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf

from nerfstudio_talking.audio.features.registry import find_feature_kind
from nerfstudio_talking.audio.mouth_prior import network
from nerfstudio_talking.audio.mouth_prior.network import (
    MEASURES,
    MouthPrior,
    MouthPriorNetwork,
    NetworkSize,
    load_mouth_prior,
    read_mouth_prior,
    write_mouth_prior,
)
from nerfstudio_talking.io.errors import TalkingError

SIZE = NetworkSize(window=4, channels=3, width=2, hidden=5)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def make_networks(count: int) -> list[MouthPriorNetwork]:
    torch.manual_seed(1)
    return [MouthPriorNetwork(SIZE).eval() for _ in range(count)]


def test_a_network_is_rows_convolutions_and_a_hidden_layer():
    (model,) = make_networks(1)
    state = {name: value.double().numpy() for name, value in model.state_dict().items()}
    windows = np.random.default_rng(0).standard_normal((6, 4, 3))
    x = gelu(windows @ state["rows.weight"].T + state["rows.bias"])  # (frames, rows, width)
    for layer in range(2):
        weight, bias = state[f"convolutions.{layer}.weight"], state[f"convolutions.{layer}.bias"]
        around = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        taps = [around[:, tap : tap + 4] @ weight[:, :, tap].T for tap in range(3)]
        x = x + gelu(np.sum(taps, axis=0) + bias)
    flat = x.transpose(0, 2, 1).reshape(6, -1)
    hidden = gelu(flat @ state["hidden_layer.weight"].T + state["hidden_layer.bias"])
    expected = hidden @ state["measures.weight"].T + state["measures.bias"]
    assert expected.shape == (6, len(MEASURES))
    np.testing.assert_allclose(model.double()(torch.from_numpy(windows)).detach().numpy(), expected, atol=1e-12)


def test_a_file_holds_the_networks_and_a_prior_is_their_mean(tmp_path):
    networks = [model.half().float() for model in make_networks(3)]
    write_mouth_prior(networks, tmp_path / "prior.npz")
    prior = read_mouth_prior(tmp_path / "prior.npz")
    windows = torch.randn(7, 4, 3)
    expected = (networks[0](windows) + networks[1](windows) + networks[2](windows)) / 3
    torch.testing.assert_close(prior(windows), expected)
    assert not any(parameter.requires_grad for parameter in prior.parameters())


def test_a_prior_is_the_same_in_training():
    prior = MouthPrior(make_networks(2))
    windows = torch.randn(7, 4, 3)
    torch.testing.assert_close(prior.train()(windows), prior.eval()(windows))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None])
def test_a_file_that_is_no_prior_is_refused(tmp_path, content):
    path = tmp_path / "prior.npz"
    if content is None:
        np.savez(path, size=np.array([4, 3, 2, 5]), rows=np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(TalkingError, match="a mouth prior"):
        read_mouth_prior(path)


@pytest.mark.parametrize("name", ["logmel", "whisper-base"])
def test_what_ships_is_small_and_fits_its_features(name):
    prior = load_mouth_prior(name)
    assert prior is not None
    kind = find_feature_kind(name)
    assert (prior.size.window, prior.size.channels) == (kind.window, kind.channels)
    assert Path(network.__file__).with_name(f"{name}.npz").stat().st_size < 5_000_000


def test_other_features_have_no_prior():
    assert load_mouth_prior("mfcc") is None
