"""The fused CPU engine: many tied one-layer models, sampling, forward, backward and optimiser in one compiled loop."""
