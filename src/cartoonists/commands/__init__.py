"""The command line: parses, calls the library, writes.

May import from every room, and from none of them PyTorch or pandas before a command runs.
"""
