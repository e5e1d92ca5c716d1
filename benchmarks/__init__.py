"""Speed, memory and accuracy, as ratios in one run on one machine. `python -m benchmarks` runs the quick ones."""
