"""What trained models lose, where it comes from, and what simple predictors lose."""
