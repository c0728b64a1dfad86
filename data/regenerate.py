"""Train the reference trajectories of this folder anew: 30 seeds of every condition, a snapshot at every epoch."""

from pathlib import Path

import toysup

if __name__ == "__main__":
    for name in ("fixed", "conditional", "anticorrelated", "split-40"):
        runs = toysup.train("conditional-importance", seeds=30, conditions=[name])
        print(*toysup.save_runs(runs, Path(__file__).parent, overwrite=True))
