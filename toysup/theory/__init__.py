"""What is known about the models without training any: numpy arrays in and out, float64, nothing sampled."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
