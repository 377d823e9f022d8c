import numpy as np
import pytest
from PIL import Image

from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.images import image_size, read_image, shrink_image


def test_images_are_read_in_the_mode_asked_for(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (6, 4, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    rgba = read_image(tmp_path / "a.png", "RGBA")
    np.testing.assert_array_equal(rgba[..., :3], image)
    assert (rgba[..., 3] == 255).all()
    assert image_size(tmp_path / "a.png") == (4, 6)


def test_bad_images_are_named(tmp_path):
    with pytest.raises(TalkingError, match=r"gone\.png.*no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(TalkingError, match="no such file"):
        image_size(tmp_path / "gone.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(TalkingError, match=r"torn\.png"):
        read_image(tmp_path / "torn.png")
    (tmp_path / "text.png").write_text("no image")
    for read in (read_image, image_size):
        with pytest.raises(TalkingError, match=r"text\.png"):
            read(tmp_path / "text.png")


def test_large_images_shrink_by_averages_and_small_ones_stay():
    image = np.random.default_rng(0).integers(0, 255, (40, 80, 3), dtype=np.uint8)
    assert shrink_image(image, 80) is image
    small = shrink_image(image, 20)
    assert small.shape == (10, 20, 3)
    blocks = image.reshape(10, 4, 20, 4, 3).mean((1, 3))
    np.testing.assert_allclose(small, blocks, atol=0.51)
