"""What is known about toy models without training any: closed forms, NumPy arrays in and out.

Results are float64, and nothing is sampled. `docs/theory.md` derives the formulas.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
