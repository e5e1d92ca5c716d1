#!/bin/bash
# All three in their order, each when the one before has ended well: sh submit.sh [options of sbatch for the array]
set -e
here=$(dirname "$0")
predict=$(sbatch --parsable "$@" "$here/predict.sh")
merge=$(sbatch --parsable --dependency="afterok:$predict" --kill-on-invalid-dep=yes "$here/merge.sh")
sbatch --parsable --dependency="afterok:$merge" --kill-on-invalid-dep=yes "$here/vectorize.sh"
