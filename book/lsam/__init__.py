"""Anonymous: Sharpness-Aware Minimization Driven by Local-Integrability Flatness."""
