"""The pages of docs/findings: what is measured, drawn and said of each experiment."""
