"""Job files: what they say, and that every mistake is named with its line."""

from __future__ import annotations

import pytest
from helpers.paths import ROOT

from nerfstudio_talking.batch import Resources, load_jobs
from nerfstudio_talking.batch.job_file import Source
from nerfstudio_talking.io.errors import TalkingError

WHOLE = """\
output: outputs/studio
videos:
  anna: anna.mp4
  ben: {file: s3://raw/ben.mov, options: {frames: "0:500"}}
voices: voices/*.wav
portraits:
  splat: {method: splat-portrait-small, options: {max_num_iterations: 300, pipeline.model.max-gaussians: 500}}
  volume: {method: talking-portrait-small, videos: [anna], bake: {max-loss: 0.3}}
drives:
  - {portraits: "*/splat", voices: "*"}
  - {portraits: anna/volume, voices: hello, options: {motion: {file: anna.pt}, pose: generated}, variant: moving}
scores:
  - {drives: "*/splat/hello"}
  - {drives: "anna/volume/*", gt: ben}
options:
  process: {size: 256, refine-poses: false}
resources:
  train: {cpus: 2, gpus: 0.5, memory_gb: 6}
retries: 1
"""


def write(folder, text):
    (folder / "voices").mkdir(exist_ok=True)
    for name in ("hello", "again"):
        (folder / "voices" / f"{name}.wav").write_bytes(name.encode())
    path = folder / "jobs.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_file(tmp_path):
    jobs = load_jobs(write(tmp_path, WHOLE))
    assert jobs.output == str(tmp_path / "outputs/studio") and jobs.retries == 1
    assert jobs.videos["anna"].source.url == str(tmp_path / "anna.mp4")
    assert jobs.videos["ben"].source.url == "s3://raw/ben.mov"
    assert jobs.videos["anna"].options == {"size": 256, "refine-poses": False}
    assert jobs.videos["ben"].options == {"size": 256, "refine-poses": False, "frames": "0:500"}
    assert {name: voice.url for name, voice in jobs.voices.items()} == {
        name: str(tmp_path / f"voices/{name}.wav") for name in ("again", "hello")
    }
    assert jobs.recipes["splat"].videos == ("anna", "ben") and jobs.recipes["splat"].bake is None
    assert jobs.recipes["splat"].options == {"max-num-iterations": 300, "pipeline.model.max-gaussians": 500}
    assert jobs.recipes["volume"].bake == {"max-loss": 0.3}
    assert [speech.name for speech in jobs.speeches] == [
        "anna/splat/again",
        "anna/splat/hello",
        "ben/splat/again",
        "ben/splat/hello",
        "anna/volume/hello/moving",
    ]
    motion = jobs.speeches[-1].options["motion"]
    assert isinstance(motion, Source) and motion.url == str(tmp_path / "anna.pt")
    assert [(score.speech, score.gt.url) for score in jobs.comparisons] == [
        ("anna/splat/hello", str(tmp_path / "anna.mp4")),
        ("ben/splat/hello", "s3://raw/ben.mov"),
        ("anna/volume/hello/moving", "s3://raw/ben.mov"),
    ]
    assert jobs.resources["train"] == Resources(2, 0.5, 6) and jobs.resources["process"].gpus == 0


VIDEOS = "videos:\n  anna: anna.mp4\n"
SPLAT = VIDEOS + "voices: {hello: hello.wav}\nportraits:\n  splat: {method: splat-portrait}\n"


@pytest.mark.parametrize(
    "text, line, message",
    [
        ("", None, "an empty file"),
        ("videos: [\n", 2, "YAML"),
        ("videos:\n  anna: a.mp4\n bad: b", 3, "YAML"),
        ("- videos\n", 1, "expected a mapping; found a list"),
        ("output: x\n", 1, "the key videos"),
        ("video:\n  anna: anna.mp4\n", 2, "found video"),
        ("videos:\n  anna: 1.5\n", 2, "videos.anna: expected text; found '1.5'"),
        ("videos:\n  an na: anna.mp4\n", 2, "letters, digits"),
        ("videos:\n  anna: a.mp4\n  anna: b.mp4\n", 3, "anna twice"),
        ("videos:\n  anna: {files: a.mp4}\n", 2, "found files"),
        ("videos:\n  anna: {options: {size: 1}}\n", 2, "the key file"),
        ("videos: nowhere/*.mp4\n", 1, "a pattern that finds files"),
        (VIDEOS + "retries: -1\n", 3, "at least 0"),
        (VIDEOS + "retries: true\n", 3, "a whole number"),
        (VIDEOS + "options:\n  process:\n    output: x\n", 5, "the batch does not set itself"),
        (VIDEOS + "options:\n  process:\n    --size: 256\n", 5, "without dashes"),
        (VIDEOS + "options:\n  process:\n    refine-poses: true\n    refine_poses: true\n", 6, "twice"),
        (VIDEOS + "options:\n  process: {size: {pixels: 3}}\n", 4, "found pixels"),
        (VIDEOS + "options:\n  process: {size: .inf}\n", 4, "a finite number"),
        (VIDEOS + "options:\n  score:\n    syncnet: net.model\n", 5, r"syncnet: \{file: PATH\}"),
        (VIDEOS + "options:\n  drive: {refine: config.yml}\n", 4, "use the command alone"),
        (VIDEOS + "resources:\n  train: {gpus: 1.5}\n", 4, "a fraction of one GPU"),
        (VIDEOS + "resources:\n  train: {cpus: 0}\n", 4, "more than 0"),
        (VIDEOS + "resources:\n  trains: {cpus: 1}\n", 4, "found trains"),
        (VIDEOS + "portraits:\n  splat: {videos: anna}\n", 4, "the key method"),
        (VIDEOS + "portraits:\n  splat: {method: splat-portrait, videos: 'b*'}\n", 4, r"found 'b\*'"),
        (VIDEOS + "portraits:\n  splat: {method: splat-portrait, bake: 3}\n", 4, "true or false"),
        (VIDEOS + "drives:\n  - {portraits: '*'}\n", 4, "has no voices"),
        (SPLAT + "drives:\n  portraits: '*'\n", 7, "a list"),
        (SPLAT + "drives:\n  - {portraits: ben/splat}\n", 7, "There are: anna/splat"),
        (SPLAT + "drives:\n  - {}\n  - {options: {crf: 20}}\n", 8, "anna/splat/hello also in .*line 7"),
        (SPLAT + "drives: [{}]\nscores:\n  - {}\n  - {gt: anna.mp4, options: {gt-frames: '0:9'}}\n", 9, "twice"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, line, message):
    path = write(tmp_path, text)
    with pytest.raises(TalkingError, match=message) as error:
        load_jobs(path)
    assert error.value.what.startswith(f"{path}, line {line}" if line else str(path))


def test_nothing_in_a_job_file_is_executed(tmp_path):
    text = f"videos:\n  a: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'touched'}]\n"
    with pytest.raises(TalkingError):
        load_jobs(write(tmp_path, text))
    assert not (tmp_path / "touched").exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(TalkingError, match="No such file"):
        load_jobs(tmp_path / "jobs.yaml")


def test_files_of_one_stem_need_names(tmp_path):
    path = write(tmp_path, "videos: [voices/*.wav, voices/*.mp4]\n")
    (tmp_path / "voices" / "hello.mp4").write_bytes(b"")
    with pytest.raises(TalkingError, match="hello twice"):
        load_jobs(path)


def test_the_example_of_the_docs(tmp_path):
    text = (ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    path = write(tmp_path, example)
    jobs = load_jobs(path)
    assert {"anna", "ben"} <= jobs.videos.keys() and jobs.speeches and jobs.comparisons
