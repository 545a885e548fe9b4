# Every script, and every topic's notebook, is a module with one rule, `job`: the log, benchmark,
# environment, resources and code hash that all of them have.  A rule adds what is its own, with
# `use rule job from SCRIPT as RULE with:`, and pathvars `job` where the log's name is not the script's.

# not named `script`: that is Snakemake's own, which the rules below call
for script_stem in stems(os.path.join(CLONE, "workflow/scripts")):

    module:
        name: script_stem
        snakefile:
            "../templates/script.smk"
        config:
            {**config, "script": script_stem}


for topic in TOPICS:

    module:
        name: f"{topic}_notebook"
        snakefile:
            "../templates/notebook.smk"
        config:
            {**config, "notebook": topic}
