# Closed-form densities: is the tracked log-density the true one, and do HD samples score higher?
# Runs on closed forms.

THEORY = {key: config[key] for key in ("seed", "logsnr_min", "logsnr_max")}
THEORY["n_samples"] = config["theory"]["n_samples"]


use rule job from theory_tracking as theory_tracking_part with:
    """Error of every tracker against steps, in one number of dimensions."""
    output:
        "results/theory/parts/tracking-{dimensions}.csv",
    pathvars:
        job="theory_tracking/{dimensions}",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        steps=config["theory"]["steps"],
        settings=THEORY,


use rule job from theory_high_density as theory_high_density_part with:
    """True log-densities of HD and of ordinary samples from the same point."""
    output:
        "results/theory/parts/high_density-{dimensions}.csv",
    pathvars:
        job="theory_high_density/{dimensions}",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        switch_logsnr=config["theory"]["switch_logsnr"],
        # half of a tracker's most: HD-ODE and reverse SDE of a branch take that many each
        steps=max(config["theory"]["steps"]) // 2,
        settings=THEORY,


use rule job from concatenate as theory_table with:
    """The parts of one closed-form experiment, one below the other."""
    input:
        expand(
            "results/theory/parts/{{table}}-{dimensions}.csv",
            dimensions=config["theory"]["dimensions"],
        ),
    output:
        "results/theory/{table,tracking|high_density}.csv",
    pathvars:
        job="theory_table/{table}",


use rule job from theory_claims as theory_claims with:
    """Claims 2 and 6 on closed forms: trackers are right, HD samples have higher density."""
    input:
        tracking="results/theory/tracking.csv",
        high_density="results/theory/high_density.csv",
    output:
        "results/measured/theory.csv",
    params:
        bootstrap=BOOTSTRAP,


use rule job from theory_notebook as theory with:
    """Closed forms: tracker errors against steps, HD samples against ordinary ones."""
    input:
        tracking="results/theory/tracking.csv",
        high_density="results/theory/high_density.csv",
        claims="results/claims/theory.csv",
    output:
        figure("theory_tracking", "error of each tracker against cost", "2 Closed forms"),
        figure("theory_high_density", "gain of HD samples against switch point", "2 Closed forms"),
