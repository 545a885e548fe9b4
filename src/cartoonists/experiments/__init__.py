"""What is measured: a module a topic, which returns tables and arrays and draws nothing.

Beside the topics stand helpers that several share: ``tables``, ``tiny``, ``survivors`` and
``frechet``.  May import from every room but ``report``.
"""
