"""Closed forms: a formula, its domain, its source; one law a file."""
