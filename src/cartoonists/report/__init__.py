"""What is shown: figures, a module a topic, and the explorer.  Tables in, pictures out.

Never imports PyTorch.  May import from ``images``, ``statistics`` and ``files``.
"""
