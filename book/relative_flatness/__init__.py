"""Petzka, Kamp, Adilova, Sminchisescu, Boley: Relative Flatness and Generalization."""
