import numpy as np
import pytest

from nerfstudio_talking.process.parsing.colour_model import colour_cells, log_density


def test_densities_add_up():
    lab = np.random.default_rng(0).integers(100, 150, size=(500, 3), dtype=np.uint8)
    density = np.exp(log_density(colour_cells(lab)).astype(np.float64))
    assert density.sum() * 8 * 3 * 3 == pytest.approx(1.0, abs=1e-3)
    assert density[colour_cells(lab)].mean() > 10 * density.mean()
