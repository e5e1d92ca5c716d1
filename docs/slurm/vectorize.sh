#!/bin/bash
#SBATCH --job-name=segearth-vectorize
#SBATCH --cpus-per-task=2 --mem=8G --time=02:00:00
#SBATCH --output=segearth-vectorize-%j.log

segearth vectorize mask.tif -o mask.gpkg
