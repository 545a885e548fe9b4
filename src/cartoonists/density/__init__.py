"""What a path tells: trackers, likelihoods, high-density sampling, guidance, modes, dimension.

Works on any `ScoreModel`.  May import from ``paths`` and ``statistics``, not from ``images``.
"""
