from cartoonists.files.artifacts import job, write_table
from cartoonists.report.register import Register
from cartoonists.report.scoreboard import assemble, scoreboard, split

with job(snakemake) as record:
    register = Register.of(snakemake.params.register)
    rows = assemble(register, snakemake.input.topics)
    for name, part in split(register, rows).items():
        write_table(snakemake.output[name], part, record)
    write_table(snakemake.output.scoreboard, scoreboard(register, rows), record)
