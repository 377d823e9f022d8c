"""Which rendered frames a refiner accepts for a sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nerfstudio_talking.data.refiner_frames import load_rendered, renderer_digest
from nerfstudio_talking.dataset_io.sequence import TalkingSequence, load_sequence
from nerfstudio_talking.io.errors import TalkingError
from nerfstudio_talking.media.frame_folder import RenderedRecord, fill_folder


@pytest.fixture
def sequence(talking_dataset) -> TalkingSequence:
    return load_sequence(talking_dataset)


def rendered_folder(folder: Path, shown: TalkingSequence, **changes) -> Path:
    """A folder of this sequence, whose record says otherwise where there are changes."""
    track = shown.track
    share = len(shown.train_frames) / track.num_frames
    record = replace(RenderedRecord("c" * 64, track.digest, track.num_frames, share), **changes)
    fill_folder(folder, record, lambda frame: np.full((track.height, track.width, 3), frame, np.uint8))
    return folder


def test_a_folder_of_this_sequence_is_taken_and_names_its_checkpoint(sequence, tmp_path, capsys):
    folder = rendered_folder(tmp_path / "r", sequence)
    frames = load_rendered(folder, sequence)
    assert frames[:, 0, 0, 0].tolist() == list(range(sequence.track.num_frames))
    assert renderer_digest(folder, sequence) == "c" * 64
    assert capsys.readouterr().out == ""


def test_frames_without_a_record_go_by_the_sequence(sequence, blurred):
    assert len(load_rendered(blurred, sequence)) == sequence.track.num_frames
    assert renderer_digest(blurred, sequence) == renderer_digest(None, sequence) == sequence.track.digest


def test_frames_of_another_sequence_are_refused(sequence, tmp_path):
    other = rendered_folder(tmp_path / "other", sequence, sequence="d" * 64)
    longer = rendered_folder(tmp_path / "longer", sequence, num_frames=sequence.track.num_frames + 1)
    for folder in (other, longer):
        for check in (load_rendered, renderer_digest):
            with pytest.raises(TalkingError, match="frames of this sequence"):
                check(folder, sequence)


def test_another_train_fraction_is_warned_of(sequence, tmp_path, capsys):
    load_rendered(rendered_folder(tmp_path / "r", sequence, train_fraction=0.8), sequence)
    message = " ".join(capsys.readouterr().out.split())
    assert "trained on 0.800 of the frames, the refiner trains on 0.909" in message
    assert "--train-fraction" in message


def test_a_config_is_answered_with_the_command_to_run(sequence, tmp_path):
    path = tmp_path / "config.yml"
    for check in (load_rendered, renderer_digest):
        with pytest.raises(TalkingError) as error:
            check(path, sequence)
        assert f"ns-talking render-frames --load-config {path} --output DIR" in error.value.hint
