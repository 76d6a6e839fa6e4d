#!/usr/bin/env bash
# Measure on a GPU: training steps and forward passes of ResNeSt-26d at 260x260 with the published and the direct form
# against the linear classifier, the kernels that they take, compilation, many classes, maps, loading with augmentation.
#
#   bash studies/benchmark/gpu.sh [DIR]             # tables (JSON), traces and the printed text, in DIR (default: gpu)
#   TOY=true bash studies/benchmark/gpu.sh [DIR]    # a small model and few rounds, to try the script on any machine
#
# SCOUTER_DATA is the folder of the real data; without it, pictures are loaded from the digits of the project.
set -euo pipefail
cd "$(dirname "$0")/../.."
out="${1:-gpu}"
mkdir -p "$out"

size=(--model resnest26d --img_size 260 --batch_size 70)
device=(--device cuda)
classes=10,100,1000
if [[ "${TOY:-false}" == true ]]; then
    size=(--model test_resnet --img_size 64 --batch_size 4 --quick true)
    device=()
    classes=10
fi
data=(--dataset MNIST5k)
if [[ -n "${SCOUTER_DATA:-}" ]]; then
    data=(--dataset CUB200 --dataset_dir "$SCOUTER_DATA/CUB_200_2011" --num_classes 25)
fi
fast=(--pre_trained false --amp bf16 --channels_last true)

# measure NAME PART ... : the table in NAME.json, what is printed in NAME.txt
measure() {
    local name="$1"
    shift
    echo "== $name"
    python -m studies.benchmark "$@" "${size[@]}" "${device[@]}" --json "$out/$name.json" | tee "$out/$name.txt"
}

for form in paper direct; do
    recipe=()
    [[ $form == direct ]] && recipe=(@recipes/direct.txt)
    for part in train infer; do
        name="${form}_$part"
        measure "$name" "$part" "${fast[@]}" "${recipe[@]}" --class_counts "$classes" --trace "$out/$name.trace.json"
    done
done
measure compiled train infer "${fast[@]}" @recipes/direct.txt --class_counts 10 --compile true
measure eager_and_compiled compile "${fast[@]}" @recipes/direct.txt
measure many_classes train memory "${fast[@]}" @recipes/direct.txt --class_counts "${MANY:-10000,21000}"
measure head head
measure loading data "${fast[@]}" "${data[@]}"
measure augmentation augment "${fast[@]}"
measure explain explain "${fast[@]}" --ss_samples 2 --is_samples 2
