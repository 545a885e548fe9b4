"""Networks as score models: formats of checkpoints, execution, training, the classifier.

May import from ``images``, ``density`` and the rooms below them.
"""
