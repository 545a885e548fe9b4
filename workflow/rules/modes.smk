# Modes of p(x_s|x_t): both equations against Newton's method, their failures, curves and cost.
# Runs on closed forms.

MODE_CONFIG = config["modes"]
MODE_SETTINGS = {key: config[key] for key in ("seed", "logsnr_min", "logsnr_max")}
MODE_SETTINGS |= {key: MODE_CONFIG[key] for key in ("n_samples", "steps", "starts")}


use rule job from modes_table as modes_table with:
    """End points of the mode ODE and the HD-ODE against Newton's method, and failure detection."""
    output:
        modes="results/theory/modes.csv",
        detection="results/theory/mode_detection.csv",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        dimensions=MODE_CONFIG["dimensions"],
        logsnr_t=MODE_CONFIG["logsnr_t"],
        settings=MODE_SETTINGS,


use rule job from modes_curves as mode_curves with:
    """Curves of both equations on a 1-D and a 2-D mixture, over the density."""
    output:
        "results/theory/mode_curves.npz",
    pathvars:
        job="mode_curves",
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        curves=MODE_CONFIG["curves"],
        settings=MODE_SETTINGS,


use rule job from modes_cost as mode_cost with:
    """CPU time and memory of the corrected drift against the number of dimensions."""
    output:
        "results/theory/mode_cost.csv",
    pathvars:
        job="mode_cost",
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        dimensions=MODE_CONFIG["cost"]["dimensions"],
        repeats=MODE_CONFIG["cost"]["repeats"],


use rule job from modes_network as mode_network with:
    """Size of the term that the HD-ODE drops, on a network trained here on 8×8 images."""
    output:
        along="results/theory/mode_network.csv",
        ends="results/theory/mode_network_ends.csv",
    pathvars:
        job="mode_network",
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        training=MODE_CONFIG["network"]["training"],
        curves=MODE_CONFIG["network"]["curves"],
        seed=config["seed"],


use rule job from modes_claims as modes_claims with:
    """Claim 5: the mode ODE finds the mode, the HD-ODE comes near it."""
    input:
        modes="results/theory/modes.csv",
        detection="results/theory/mode_detection.csv",
        network="results/theory/mode_network.csv",
        cost="results/theory/mode_cost.csv",
    output:
        "results/measured/modes.csv",
    params:
        bootstrap=BOOTSTRAP,


use rule job from modes_notebook as modes with:
    """Modes: curves, end-point errors, failure detection, cost."""
    input:
        modes="results/theory/modes.csv",
        detection="results/theory/mode_detection.csv",
        curves="results/theory/mode_curves.npz",
        cost="results/theory/mode_cost.csv",
        network="results/theory/mode_network.csv",
        ends="results/theory/mode_network_ends.csv",
        claims="results/claims/modes.csv",
    output:
        figure("modes_curves", "curves of the mode over the density", "2 Closed forms"),
        figure("modes_errors", "distance of the end points to the mode", "2 Closed forms"),
        figure("modes_cost", "cost of the mode ODE against dimension", "2 Closed forms"),
