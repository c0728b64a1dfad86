"""Train toy models of superposition by the thousand, keep every trajectory, measure and draw it.

What it has, in the order in which you need it:

* Experiments: `load_experiment`, `builtin_experiments`, `Experiment` and `Condition`, and the tables that they are made
  of: `RegimeSpec`, `ModelSpec`, `TrainingSpec` and `RecordSpec`. `register_activation` and `register_model` add yours.
* Training: `train` trains in memory, `train_runs` to a folder.
* Trajectories: `open_runs`, `open_example` and `save_runs`. `regime_of`, `to_module` and `sample` give back what was
  trained.
* `toysup.analysis`: statistics, intervals, figures and reports of trajectories.
* `toysup.theory`: closed forms, known without training any model.

>>> import toysup
>>> runs = toysup.train("tms-intro", seeds=2)  # doctest: +SKIP
>>> toysup.analysis.report.dimensionality(runs).table  # doctest: +SKIP
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
