#!/bin/bash
#SBATCH --job-name=segearth-merge
#SBATCH --cpus-per-task=2 --mem=4G --time=01:00:00
#SBATCH --output=segearth-merge-%j.log

segearth merge run -o mask.tif
