# What the job of every notebook has: the executed notebook as log, and what a script has.

from attempts import grows
from plan import environment
from revision import code_hash

TOPIC = config["notebook"]


rule job:
    log:
        notebook=f"results/notebooks/{TOPIC}.ipynb",
    benchmark:
        f"results/benchmarks/{TOPIC}.tsv"
    conda:
        environment(config["execution"]["device"])
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code_hash(f"notebooks/{TOPIC}.ipynb"),
    notebook:
        f"../../notebooks/{TOPIC}.ipynb"
