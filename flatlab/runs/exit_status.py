"""How the command of a run ends, for the shell and for a sweep."""

DONE = 0
AGAIN = 1
"""A crash, a full disk, a file that cannot be reached: another attempt may not meet it."""
WRONG = 2
"""A setting, a word of the command line, or a package that is missing: it would be so again."""
DIVERGED = 4
"""The loss is no longer finite: it would be so again."""
STOPPED = 130
"""As asked, with the state saved."""
