# What the job of every script has: a log, a benchmark, an environment, resources, and a code hash.

from attempts import grows
from plan import environment
from revision import code_hash

SCRIPT = config["script"]


rule job:
    log:
        "results/logs/<job>.log",
    benchmark:
        "results/benchmarks/<job>.tsv"
    pathvars:
        job=SCRIPT,
    conda:
        environment(config["execution"]["device"])
    resources:
        mem_mb=grows(1000),
        runtime=grows(10),
    params:
        code=code_hash(f"workflow/scripts/{SCRIPT}.py"),
    script:
        f"../scripts/{SCRIPT}.py"
