import yaml

from cartoonists.files.artifacts import atomic, job

with job(snakemake), atomic(snakemake.output[0]) as temporary:
    temporary.write_text(yaml.safe_dump(snakemake.params.config, sort_keys=False))
