"""The mathematics: noise schedules, scores, processes with formula (★), solvers, random streams.

May import from ``files``; knows neither images nor checkpoints.
"""
