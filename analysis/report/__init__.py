"""What `toysup-analyze` reports: tidy rows, figures and the page that shows them."""
