"""Claims about trained models, and the verdicts on them."""
