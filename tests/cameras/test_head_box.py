import numpy as np

from nerfstudio_talking.cameras.head_box import head_box
from nerfstudio_talking.dataset_io.parsing_labels import class_mask
from nerfstudio_talking.dataset_io.sequence import load_parsing, load_sequence


def test_head_box_encloses_the_disc(talking_dataset):
    sequence = load_sequence(talking_dataset)
    masks = [class_mask(load_parsing(sequence, i), ("skin", "hair", "eyes", "lips")) for i in range(5)]
    box = head_box(masks, sequence.track.camera_to_worlds[:5], sequence.track.camera, margin=0.0)
    # a disc of radius 0.1 m, 5 % of the image above the middle: 0.05 * 48 px / 96 px * 0.8 m = 0.02 m
    np.testing.assert_allclose(box[:, 1], [-0.08, 0.12], atol=0.015)
    assert box[0, 0] < -0.09
    assert box[1, 0] > 0.09
