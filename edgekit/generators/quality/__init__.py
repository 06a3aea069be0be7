"""How good painted pictures are: features of pictures, distances between clouds of them, scores of label maps.

distance.py is mathematics alone. Extractors (features.py, scenes.py) turn pictures into the numbers that it
compares, and say of themselves whether they are a metric's own network or stand in for it.
"""
