import numpy as np

from nerfstudio_talking.dataset_io.parsing_labels import CLASS_ID, from_ad_nerf, from_bisenet


def test_other_formats_are_converted():
    colours = np.array([[(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255), (2, 3, 250)]], np.uint8)
    names = ("skin", "neck", "cloth", "background", "skin")
    assert from_ad_nerf(colours)[0].tolist() == [CLASS_ID[name] for name in names]
    ids = from_bisenet(np.array([[0, 1, 2, 5, 6, 8, 10, 11, 13, 14, 16, 17, 18]], np.uint8))
    expected = [
        "background",
        "skin",
        "brows",
        "eyes",
        "background",
        "ears",
        "nose",
        "inner_mouth",
        "lips",
        "neck",
        "cloth",
        "hair",
        "background",
    ]
    assert ids[0].tolist() == [CLASS_ID[name] for name in expected]
