"""Timings that the book quotes: printed by `make bench`, never asserted."""
