"""How models are trained: two engines behind one interface."""
