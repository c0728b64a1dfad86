"""The reference engine, in torch, on the CPU or CUDA."""
