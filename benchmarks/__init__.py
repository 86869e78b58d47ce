"""Timings against peers that do the same work: printed by `make bench`, never asserted."""
