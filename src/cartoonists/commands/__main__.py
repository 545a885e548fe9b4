"""``python -m cartoonists.commands`` is the command ``cartoonists``."""

from cartoonists.commands.app import app

app(prog_name="cartoonists")
