"""Evaluations: which sequences, methods, metrics and columns."""
