"""Ready parsing maps in every format, cropped and resized, and folders that cannot be used."""

import numpy as np
import pytest
from PIL import Image

from nerfstudio_talking.dataset_io.parsing_labels import AD_NERF_COLOURS, CLASS_ID
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.process.crop import Crop, choose_crop
from nerfstudio_talking.process.parsing.folder import parsing_format, read_parsings


def read(folder, num_frames, size):
    """Maps that show the whole image of a dataset of the given size; the video had another."""
    return read_parsings(folder, Crop(0, 0, 999, 999, *size), (999, 999), 0, num_frames)


def save(folder, maps):
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(maps):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


def test_own_ids_are_read(tmp_path):
    maps = np.random.default_rng(0).integers(0, 11, size=(3, 20, 30), dtype=np.uint8)
    folder = save(tmp_path / "ids", maps)
    assert parsing_format(folder) == "ids"
    np.testing.assert_array_equal(np.stack(list(read(folder, 3, (30, 20)))), maps)


@pytest.mark.parametrize("channels", [1, 3])
def test_bisenet_is_read(tmp_path, channels):
    ids = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30) % 19
    maps = [ids if channels == 1 else np.repeat(ids[..., None], 3, axis=2)] * 12
    folder = save(tmp_path / "bisenet", maps)
    assert parsing_format(folder) == "bisenet"
    (first, *_) = read(folder, 12, (30, 20))
    for theirs, ours in ((0, "background"), (1, "skin"), (2, "brows"), (14, "neck"), (16, "cloth"), (17, "hair")):
        assert (first[ids == theirs] == CLASS_ID[ours]).all()


def test_ad_nerf_is_read_and_resized(tmp_path):
    image = np.zeros((20, 40, 3), dtype=np.uint8)
    for column, colour in enumerate(AD_NERF_COLOURS.values()):
        image[:, 10 * column : 10 * column + 10] = colour
    folder = save(tmp_path / "parsing", [image, image])
    assert parsing_format(folder) == "ad-nerf"
    ids = next(read(folder, 2, (80, 40)))
    assert ids.shape == (40, 80)
    for column, name in enumerate(AD_NERF_COLOURS):
        assert (ids[:, 20 * column : 20 * column + 20] == CLASS_ID[name]).all()


def test_maps_of_the_sources_size_are_cropped_as_its_frames(tmp_path):
    colours = np.full((40, 60, 3), 255, dtype=np.uint8)
    colours[:, 30:] = (0, 0, 255)
    for index in range(3):
        Image.fromarray(colours).save(tmp_path / f"{index}.png")
    crop = choose_crop("20,0,20,20", 64, 60, 40, np.zeros((3, 4)))
    ids = list(read_parsings(tmp_path, crop, (60, 40), 0, 3))
    assert len(ids) == 3
    assert ids[0].shape == (64, 64)
    assert (ids[0][:, :32] == CLASS_ID["background"]).all()
    assert (ids[0][:, 32:] == CLASS_ID["skin"]).all()
    with pytest.raises(TalkingError, match="4 parsing maps"):
        list(read_parsings(tmp_path, crop, (60, 40), 0, 4))


def test_bad_folders_are_reported(tmp_path):
    with pytest.raises(TalkingError, match="no such folder"):
        next(read(tmp_path / "gone", 1, (8, 8)))
    ids = np.zeros((8, 8), dtype=np.uint8)
    with pytest.raises(TalkingError, match="3 parsing maps"):
        next(read(save(tmp_path / "few", [ids, ids]), 3, (8, 8)))
    with pytest.raises(TalkingError, match="images, 16x8"):
        next(read(save(tmp_path / "shape", [ids]), 1, (16, 8)))
    with pytest.raises(TalkingError, match="the value 200"):
        next(read(save(tmp_path / "grey", [ids + 200]), 1, (8, 8)))
    photo = np.random.default_rng(0).integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
    with pytest.raises(TalkingError, match="other colours"):
        next(read(save(tmp_path / "photo", [photo]), 1, (8, 8)))
    folder = save(tmp_path / "torn", [ids, ids])
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:40])
    with pytest.raises(TalkingError, match=r"1\.png"):
        next(read(folder, 2, (8, 8)))
