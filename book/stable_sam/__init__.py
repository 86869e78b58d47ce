"""Tan, Zhang, Liu, Wang, Hao: Stabilizing Sharpness-aware Minimization Through A Simple Renormalization Strategy."""
