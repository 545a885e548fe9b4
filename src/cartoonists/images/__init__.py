"""Pictures: data sets, pixel scalings, codecs, degradations and measures; no model.

May import from ``statistics``, ``paths`` and ``files``, not from ``density``.
"""
