"""Stage commands that take a fraction of a second, for batches in tests; workers of Ray import them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nerfstudio_talking.batch.stages import Stage

_OUTPUTS = {
    "process": "track.json",
    "train": "portrait/m/run/config.yml",
    "bake": "baked.pt",
    "drive": "speaking.mp4",
    "score": "scores.json",
}
JOBS = """\
videos: {a: a.mp4, b: b.mp4, c: c.mp4, d: d.mp4}
voices: {hello: hello.wav, again: again.wav}
portraits: {x: {method: m}}
drives: [{}]
scores: [{drives: "*/hello"}]
"""
"""Twenty stages."""


def build_small(stage: Stage, inputs: Mapping[str, Path], output: Path) -> list[str]:
    """A command that digests all bytes of the inputs and the options; it fails on a file that says so."""
    # `find` on an output's folder: the same bytes whatever folder the cache has put it in
    read = [
        f"cd '{path}' && find . -type f | sort | xargs cat" if path.is_dir() else f"cat '{path}'"
        for _, path in sorted(inputs.items())
    ]
    target = output / _OUTPUTS[stage.kind]
    words = [str(value) for _, value in sorted(stage.options.items())]
    script = f"""
    set -e
    ({"; ".join(f"({line})" for line in read)}) > all
    if grep -q 'broken' all && ! [ -e "$(cat all | sed -n 's/.*unless //p')" ]; then
        echo "Error: {stage.name}: expected a video; found a broken file. Convert it." >&2
        exit 1
    fi
    sleep 0.4
    mkdir -p '{target.parent}'
    (cat all; echo '{stage.kind} {" ".join(words)}') | sha256sum > '{target}'
    """
    return ["sh", "-c", script]
