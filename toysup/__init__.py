"""Train toy models of superposition by the thousand, keep every trajectory, measure and draw it.

The public names, in the order in which a study needs them:

* Experiments: `load_experiment` and `builtin_experiments` give an `Experiment`, a set of `Condition` objects. A
  condition consists of a `RegimeSpec`, a `ModelSpec`, a `TrainingSpec` and a `RecordSpec`. `register_activation` and
  `register_model` add your own activations and architectures.
* Training: `train` works in memory, `train_runs` in a folder.
* Trajectories: `open_runs` and `open_example` open them, `save_runs` writes them. `regime_of`, `to_module` and `sample`
  give the regime, the model and the samples of a trajectory.
* `toysup.analysis`: statistics, intervals, figures and reports of trajectories.
* `toysup.theory`: closed forms, which need no trained model.

>>> import toysup
>>> runs = toysup.train("tms-intro", seeds=2)  # doctest: +SKIP
>>> toysup.analysis.report.dimensionality(runs).table  # doctest: +SKIP
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
