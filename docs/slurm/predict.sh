#!/bin/bash
#SBATCH --job-name=segearth
#SBATCH --array=0-15
#SBATCH --cpus-per-task=4 --mem=8G
#SBATCH --gres=gpu:1
#SBATCH --time=04:00:00 --signal=B:TERM@90
#SBATCH --requeue --open-mode=append --output=segearth-%A_%a.log

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK

segearth predict scene.tif -c 'water|river,building,road' --work run --shard-size auto \
    --shard-count "$SLURM_ARRAY_TASK_COUNT" &
segearth=$!
trap 'kill -TERM $segearth' TERM
wait $segearth # a signal ends this wait,
wait $segearth # and this one tells how segearth ended
code=$?

# Nothing asks for a task again whose time was up, nor for one that was killed (for memory, mostly): it does so itself,
# unless somebody cancelled it. What it has computed is kept.
task="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
if [ "$(squeue --noheader --jobs "$task" --format %T)" = RUNNING ]; then
    case $code in
    143) scontrol requeue "$task" ;;
    137) [ "${SLURM_RESTART_COUNT:-0}" -ge 3 ] || scontrol requeue "$task" ;;
    esac
fi
exit $code
