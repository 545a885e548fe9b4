"""Figures of log-densities, also where those of a tracker cannot be trusted."""

import numpy as np
import pandas as pd
import pytest

from cartoonists.report.likelihood import ESTIMATES, TRACKERS, sandwich, tracked_against_ode


def table(errors):
    rows = [{"tracker": t, "ode_error_nats": e} for t, e in zip(TRACKERS, errors, strict=True)] * 4
    values = {name: np.arange(8.0) for name in ESTIMATES.values()}
    return pd.DataFrame(rows).assign(dimensions=4, **values)


@pytest.mark.parametrize("errors", [(0.0, 0.0), (0.0, 100.0), (100.0, 0.0)])
def test_values_that_are_not_trusted_are_not_drawn(errors):
    trusted = [4 * (error == 0) for error in errors]
    axis = tracked_against_ode({"a/b": table(errors)}).axes[0]
    assert [len(dots.get_offsets()) for dots in axis.collections] == trusted
    drawn = sandwich({"a/b": table(errors)}).axes[0].lines
    means = [np.isfinite(line.get_ydata()).all() for line in drawn if len(line.get_xdata()) == 4]
    assert sum(means) == sum(map(bool, trusted))
