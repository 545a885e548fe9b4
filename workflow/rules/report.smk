# What is made of all topics together: claims table, notebooks, report.

from snakemake.common.configfile import load_configfile

REGISTER = read_register()
PAPER_MODELS = load_configfile(os.path.join(CLONE, "config/paper.yaml"))["models"]

# The address of RESULT inside the report: the result, and its caption beside it.
IN_THE_REPORT = (
    "javascript:new ToggleViewManager(app).handleSelectedResult('RESULT');"
    "void setTimeout(() => app.showResultInfo('RESULT'))"
)


use rule job from verdicts as verdicts with:
    """What the register decides of the rows that a topic has measured."""
    input:
        "results/measured/{topic}.csv",
    output:
        "results/claims/{topic}.csv",
    pathvars:
        job="verdicts/{topic}",
    params:
        register=lambda w: [entry for entry in REGISTER if entry["topic"] == w.topic],
        left_out=lambda w: absent(
            w.topic, kind(w.topic, AVAILABLE), AVAILABLE, LEFT_OUT, PAPER_MODELS
        ),


use rule job from claims as claims with:
    """The scoreboard, a line a claim, and the rows of all claims; self-checks and times apart."""
    input:
        topics=expand("results/claims/{topic}.csv", topic=TOPICS),
    output:
        scoreboard=shown_table("scoreboard", "scoreboard", "1 Claims"),
        claims=shown_table("claims", "rows", "1 Claims"),
        timings=shown_table("timings", "times of this machine", "1 Claims"),
        self_checks="results/self_checks.csv",
        page="results/scoreboard.html",
    params:
        register=REGISTER,
        link=IN_THE_REPORT,


rule notebooks:
    """The executed notebooks as web pages, without Snakemake's cell and the code of set-up."""
    input:
        notebooks=expand("results/notebooks/{topic}.ipynb", topic=TOPICS),
        # a failed notebook is kept as its log: the figures say whether it came to its end
        figures=lambda w: [file for topic in TOPICS for file in getattr(rules, topic).output],
    output:
        report(
            expand("results/notebooks/{topic}.html", topic=TOPICS),
            caption="../report/notebooks.rst",
            category="9 Notebooks",
        ),
    log:
        "results/logs/notebooks.log",
    benchmark:
        "results/benchmarks/notebooks.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        drop="--TagRemovePreprocessor.remove_cell_tags=snakemake-job-properties"
        " --TagRemovePreprocessor.remove_input_tags=set-up",
    shell:
        "jupyter nbconvert --to html --embed-images --TagRemovePreprocessor.enabled=True"
        " {params.drop} --output-dir results/notebooks {input.notebooks:q} 2> {log:q}"


use rule job from explorer as explorer with:
    """One web page, for offline use: samples against the switch point and the strength."""
    input:
        expand("results/{name}/high_density{end}", name=PICTURED, end=[".csv", "_images.npz"]),
        expand("results/{name}/control{end}", name=GUIDED, end=[".csv", "_images.npz"]),
        expand("results/{name}/compression.csv", name=PICTURED),
        expand("results/{name}/blur.csv", name=BLURRED),
    output:
        "results/explorer.html",
    params:
        web=files_hash("src/cartoonists/report/web"),
        models=PICTURED,
        guided=GUIDED,
        blurred=BLURRED,
        anchors=config["high_density"]["n_shown"],
        data_dir=config["data_dir"],
        # what makes one of the samples again, as the rules above made it
        high_density={
            "base_steps": config["likelihood"]["estimators"]["sde_steps"],
            **{key: config["high_density"][key] for key in ("steps", "flow")},
        },
        guidance={
            **{key: config["control"][key] for key in ("steps", "bound")},
            "flow": config["high_density"]["flow"],
        },


use rule job from resolved_config as resolved_config with:
    """The configuration of this run, defaults and overlays merged."""
    output:
        "results/config.yaml",
    params:
        config=config,


use rule job from left_out as left_out with:
    """Topics that cannot take a model, with the reason: known from the model's files alone."""
    output:
        "results/left_out.csv",
    params:
        rows=LEFT_OUT,


rule everything:
    """All results but the report."""
    input:
        "results/config.yaml",
        "results/left_out.csv",
        rules.claims.output,
        "results/explorer.html" if PICTURED else [],
        expand("results/notebooks/{topic}.html", topic=TOPICS),


rule report:
    """The HTML report: claims, figures with captions, notebooks, and how each was made."""
    input:
        everything=rules.everything.input,
        config="results/config.yaml",
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
        style=os.path.join(CLONE, "workflow/report/report.css"),
    shell:
        "snakemake --snakefile={params.snakefile:q} --configfile {input.config:q}"
        " --workflow-profile none --nolock --report {output:q} --report-stylesheet {params.style:q}"
        " {input.everything:q} > {log:q} 2>&1"
