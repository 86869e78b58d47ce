"""Anonymous: Flat is the New Sharp: Flatness-Aware Regularization for Robust Learning."""
