"""The reference engine, in torch, on CPU or CUDA."""
