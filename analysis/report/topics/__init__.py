"""What each command of toysup-analyze reports about the selected conditions: its tidy rows and its figures."""
