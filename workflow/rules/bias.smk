# The bias of tracked log-densities: the theorem on a closed form, the sandwich on image models.
# Runs on closed forms.


SECOND_SCORE = {
    table: f"results/theory/second_score{'' if table == 'paths' else '_' + table}.csv"
    for table in ("paths", "levels", "excess")
}
BIAS_OF_MODELS = (
    figure("bias_sandwich", "tracked value above IWAE, ELBO and PF-ODE", "3 Image models")
    if MODELS
    else []
)


use rule job from bias_closed_form as bias_closed_form with:
    """E X predicted and measured, over the score's error ε and the data's variance v0."""
    output:
        "results/theory/bias_closed_form.csv",
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
    params:
        settings={k: v for k, v in config["bias"].items() if k != "second_score"},
        seed=config["seed"],
        logsnr=(config["logsnr_min"], config["logsnr_max"]),


use rule job from bias_second_score as bias_second_score with:
    """E X of a small network, and of a Gaussian where it is known, by a score of its own paths."""
    output:
        **SECOND_SCORE,
    resources:
        mem_mb=grows(3000),
        runtime=grows(60),
    params:
        settings=config["bias"]["second_score"],
        seed=config["seed"],


use rule job from bias_sandwich as bias_sandwich with:
    """The sandwich r ≥ log p ≥ IWAE ≥ ELBO of each sample, from the likelihood table."""
    input:
        "results/{dataset}/{model}/likelihood.csv",
    output:
        "results/{dataset}/{model}/bias.csv",
    pathvars:
        job="{dataset}/{model}/bias",


use rule job from bias_claims as bias_claims with:
    """Claim 4: the formula for E X, and the sandwich."""
    input:
        **SECOND_SCORE,
        closed_form="results/theory/bias_closed_form.csv",
        models=expand("results/{name}/bias.csv", name=MODELS),
    output:
        "results/measured/bias.csv",
    params:
        names=list(MODELS),
        bootstrap=BOOTSTRAP,


use rule job from bias_notebook as bias with:
    """The bias: predicted against measured, and the sandwich of each model."""
    input:
        **SECOND_SCORE,
        closed_form="results/theory/bias_closed_form.csv",
        models=expand("results/{name}/bias.csv", name=MODELS),
        claims="results/claims/bias.csv",
    output:
        figure(
            "bias_closed_form",
            "bias of the tracked value, predicted and measured",
            "2 Closed forms",
        ),
        figure("bias_second_score", "bias of a small network by a second score", "2 Closed forms"),
        BIAS_OF_MODELS,
    params:
        names=list(MODELS),
