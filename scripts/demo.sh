#!/usr/bin/env bash
# From a video to a portrait that speaks a voice it was not trained with: scripts/demo.sh [VIDEO] [VOICE]
# Without arguments it takes the sample clip. METHOD chooses another portrait, such as talking-portrait-small; STEPS sets
# the length of the training, OUT the folder of the results.
# Run again, it keeps what is finished: the dataset's stages and a complete training.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"

sample="$root/tests/data/sample"
video="$(realpath "${1:-$sample/sample.mp4}")"
voice="$(realpath "${2:-$sample/other_voice.flac}")"
name="$(basename "${video%.*}")"
out="$(realpath -m "${OUT:-$root/outputs/demo/$name}")"
method="${METHOD:-splat-portrait-small}"
steps="${STEPS:-3000}"
device="$(python -c 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")')"
data="$out/data"
run="$out/$method/run"

mkdir -p "$out"
echo "== 1/4 process: $video"
ns-talking process "$video" --output "$data" --size "${SIZE:-256}"

echo "== 2/4 train: $method, $steps steps on $device"
# only the last checkpoint ends a training: one that was cut off starts anew, as its schedule spans the whole run
if [ -f "$run/nerfstudio_models/$(printf 'step-%09d.ckpt' "$((steps - 1))")" ]; then
    echo "Trained already: $run"
else
    ns-train "$method" --data "$data" --machine.device-type "$device" --vis tensorboard \
        --max-num-iterations "$steps" --output-dir "$(dirname "$out")" --experiment-name "$(basename "$out")" --timestamp run
fi

echo "== 3/4 evaluate"
ns-eval --load-config "$run/config.yml" --output-path "$out/eval.json" --render-output-path "$out/eval"

echo "== 4/4 speak: $voice"
ns-talking drive --load-config "$run/config.yml" --audio "$voice" --output "$out/spoken.mp4"

echo
echo "Dataset     $data  (report: $data/report.html)"
echo "Scores      $out/eval.json"
echo "Frames      $out/eval  (ground truth left, rendering right)"
echo "Video       $out/spoken.mp4"
echo "Viewer      ns-viewer --load-config $run/config.yml"
