from cartoonists.files.artifacts import job, write_table
from cartoonists.report.register import Register
from cartoonists.statistics.estimates import MEASURED, read_rows

with job(snakemake) as record:
    measured = read_rows(snakemake.input[0], MEASURED)
    rows = Register.of(snakemake.params.register).decide(measured, snakemake.params.left_out)
    write_table(snakemake.output[0], rows, record)
