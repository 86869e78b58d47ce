"""How the files of a data set come to this machine, and whether they are the published ones."""
