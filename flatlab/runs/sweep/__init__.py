"""Many runs from one file.

`plan` says which runs there are, `attempt` makes one in a process of its own, `work` makes them all, here or, by
`on_ray`, on a cluster; `board` shows how they go, and `command` is the command line.
"""
