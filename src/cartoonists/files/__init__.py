"""Files on disk: results with their records, downloads, bundled resources.

The ground floor: it imports from no other room, and never PyTorch.
"""
