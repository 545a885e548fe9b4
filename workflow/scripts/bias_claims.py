import pandas as pd

from cartoonists.files.artifacts import job, write_table
from cartoonists.statistics.estimates import Measurements, exact, mean, normal
from cartoonists.statistics.summaries import HALVES, NETWORK


def closed_form(measured: Measurements, table: pd.DataFrame, artifact: str) -> None:
    """Claim 4: E X of the ancestral chain, known without sampling, against the formula."""
    for run in table[table["tracker"] == "ancestral"].itertuples():
        where = f"ε = {run.epsilon:g}, v0 = {run.v0:g}, E X = {run.predicted_nats:.3g} nats"
        ratio = exact(run.chain_limit_nats / run.predicted_nats)
        measured.add("bias-formula", ratio, artifact, condition=where)
        chain = run.predicted_nats + run.discretisation_nats
        sampled = normal(
            run.measured_nats / chain, run.measured_standard_error_nats / chain, run.n_samples
        )
        measured.add("bias-measured", sampled, artifact, condition=where)


def second_score(measured: Measurements, paths: str, excess: str) -> None:
    """Claim 4: E X of a small network from below, and whether the formula stays in its bracket."""
    table, gaps = pd.read_csv(paths), pd.read_csv(excess)
    half = table[(table["model"] == NETWORK) & (table["half"] == HALVES[0])].set_index("seed")
    measured.add("bias-network", mean(half["gain_nats"]), paths)
    whole = gaps[gaps["steps"] == gaps["steps"].min()].set_index("seed")["excess_nats"]
    measured.add("bias-bracket", mean((whole - half["integral_nats"]).dropna()), paths)


def sandwich(measured: Measurements, model: str, artifact: str) -> None:
    """The ancestral chain's sandwich: E r above IWAE."""
    runs = pd.read_csv(artifact)
    runs = runs[runs["tracker"] == "ancestral"]
    measured.add("sandwich", mean(runs["width_nats"] / runs["dimensions"]), artifact, model=model)


with job(snakemake) as record:
    measured = Measurements(**snakemake.params.bootstrap)
    inputs = snakemake.input
    closed_form(measured, pd.read_csv(inputs.closed_form), inputs.closed_form)
    second_score(measured, inputs.paths, inputs.excess)
    for name in snakemake.params.names:
        sandwich(measured, name, f"results/{name}/bias.csv")
    write_table(snakemake.output[0], measured.table(), record)
