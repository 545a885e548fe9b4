# What belongs to a model and not to an experiment.
