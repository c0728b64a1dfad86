"""The losses of trained models, the parts of these losses, and the losses of simple predictors."""
