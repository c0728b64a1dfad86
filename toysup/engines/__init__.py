"""Engines: the compiled and the torch implementation of training, behind one interface."""
