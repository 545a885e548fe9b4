"""What tables of results say: intervals, rows of claims, which values can be trusted.

Tables in, numbers out: no network and no PyTorch.  May import from ``files``.
"""
