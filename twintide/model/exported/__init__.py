"""The query side as a server applies it: in numpy, without torch and without what trains.

One module for each kind of tower that `twintide.towers` declares, named as the kind; its `body`
is what that of `twintide.model.towers` is in eval mode, from the same weights by the same names.
"""
