from cartoonists.files.artifacts import job, write_arrays, write_table
from cartoonists.images.own_data import FOLDER, split_for_training

with job(snakemake) as record:
    place, channels, size = snakemake.params.data
    arrays, table = split_for_training(place.removeprefix(FOLDER), (channels, size, size))
    write_arrays(snakemake.output.arrays, arrays, record)
    write_table(snakemake.output.table, table, record)
