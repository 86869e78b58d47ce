"""The script of the steps is no module to import: it puts another device under torch."""

collect_ignore = ["steps.py"]
