from cartoonists.files.artifacts import atomic, job, machine, write_table
from cartoonists.report.register import Register
from cartoonists.report.scoreboard import assemble, scoreboard, split
from cartoonists.report.showing import html


def link(place: str) -> str:
    """The address in the report of a figure, or of the page of a notebook."""
    if place.endswith(".ipynb"):
        place = f"results/{place.removesuffix('.ipynb')}.html"
    return snakemake.params.link.replace("RESULT", place)


with job(snakemake) as record:
    register = Register.of(snakemake.params.register)
    rows = assemble(register, snakemake.input.topics)
    for name, part in split(register, rows).items():
        made = record | ({"machine": machine()} if name == "timings" else {})
        write_table(snakemake.output[name], part, made)
    board = scoreboard(register, rows)
    write_table(snakemake.output.scoreboard, board, record)
    with atomic(snakemake.output.page) as temporary:
        temporary.write_text(html(board, link), encoding="utf-8")
