# Critical windows: the noise level at which the class of a sample is decided.
# Runs on models with a classifier.

WINDOWS = config["windows"]
MIXTURE_WINDOWS = {
    "shares": "results/theory/windows.csv",
    "predicted": "results/theory/critical_windows.csv",
    "between": "results/theory/windows_between.csv",
}


use rule job from windows_closed_forms as windows_closed_forms with:
    """Share that keeps its component on mixtures, predicted, measured, by Li & Chen."""
    output:
        **MIXTURE_WINDOWS,
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        settings=WINDOWS["closed_forms"],
        logsnr=(config["logsnr_min"], config["logsnr_max"]),
        seed=config["seed"],


use rule job from windows_model as windows_model with:
    """Share of a model's samples that keep their class, by the SDE and the HD-ODE."""
    input:
        stein="results/{dataset}/{model}/stein.npz",
    output:
        table="results/{dataset}/{model}/windows.csv",
        images="results/{dataset}/{model}/windows_images.npz",
    pathvars:
        job="{dataset}/{model}/windows",
    resources:
        **NETWORK,
    params:
        model=lambda w: MODELS[f"{w.dataset}/{w.model}"],
        seed=config["seed"],
        settings={key: WINDOWS[key] for key in ("n_samples", "logsnr", "steps")},


use rule job from windows_claims as windows_claims with:
    """Claim 11: critical windows, predicted against measured."""
    input:
        expand("results/{name}/windows.csv", name=CLASSIFIED),
        **MIXTURE_WINDOWS,
    output:
        "results/measured/windows.csv",
    params:
        models=list(CLASSIFIED),
        bootstrap=BOOTSTRAP,


use rule job from windows_notebook as windows with:
    """Share that keeps its class against λ, with HD switch points and branch jumps."""
    input:
        theory="results/theory/windows.csv",
        critical="results/theory/critical_windows.csv",
        tables=expand("results/{name}/windows.csv", name=CLASSIFIED),
        claims="results/claims/windows.csv",
    output:
        figure("windows_mixtures", "critical windows of mixtures", "2 Closed forms"),
        figure("windows_models", "critical windows of image models", "3 Image models"),
    params:
        models=list(CLASSIFIED),
        switches=config["high_density"]["switch_logsnr"],
