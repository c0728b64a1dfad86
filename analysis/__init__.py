"""Statistics of superposition over labelled trajectories: xarray in, xarray out, over any leading dims at once.

* of weights: `gram`, `feature_norms`, `feature_dimensionality`, `represented`, `quadrant_interference` …
* of models of any depth: `linear_response`, `context_selectivity`
* along training: `feature_onset`, `shared_directions`, `merge_step`, `plateaus`, `level_jumps`
* of losses: `expected_loss`, `loss_decomposition`, `loss_references` …
* over seeds: `over_seeds`, `difference_over_seeds`, `quadrant_null` …
* `analysis.report`: what each command of `toysup-analyze` prints and draws, as calls
* `analysis.figures`: figures of a paper's quality
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
