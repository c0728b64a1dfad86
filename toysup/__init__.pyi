# Experiments: what is trained
from .experiments.experiment_file import load_experiment as load_experiment
from .experiments.experiment_file import builtin_experiments as builtin_experiments
from .experiments.experiment import Experiment as Experiment
from .experiments.experiment import Condition as Condition
from .experiments.regime_spec import RegimeSpec as RegimeSpec
from .experiments.regime import Regime as Regime
from .experiments.model import ModelSpec as ModelSpec
from .experiments.recipe import TrainingSpec as TrainingSpec
from .experiments.recipe import RecordSpec as RecordSpec

# Your own activations and architectures
from .experiments.activations import register_activation as register_activation
from .experiments.model import register_model as register_model

# Training
from .training.train import train as train
from .training.train_runs import train_runs as train_runs
from .training.one_block import ProgressListener as ProgressListener

# Trajectories on disk
from .storage.runs import open_runs as open_runs
from .storage.runs import open_example as open_example
from .storage.runs import save_runs as save_runs

# What was trained, given back
from .storage.schema import regime_of as regime_of
from .torch_module import to_module as to_module
from .sampling.samples import sample as sample

# Errors
from .errors import ToysupError as ToysupError
from .errors import UsageError as UsageError

# Statistics, figures and reports; closed forms
from . import analysis as analysis
from . import theory as theory

__version__: str
