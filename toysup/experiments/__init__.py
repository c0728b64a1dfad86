"""Experiments: regimes, models and training recipes, read from TOML and validated."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
