"""The names that the package exports: all there, and imported only when used."""

import ast
import subprocess
import sys
from pathlib import Path

import cartoonists


def test_every_exported_name_is_found_where_the_type_checker_is_told():
    tree = ast.parse(Path(cartoonists.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(told) == sorted(cartoonists.__all__) == sorted(cartoonists._MODULES)
    for name, module in told.items():
        assert getattr(cartoonists, name) is getattr(sys.modules[module], name)


def test_light_modules_do_not_import_torch():
    light = "cartoonists.report.plots, cartoonists.report, cartoonists.statistics.claims"
    code = f"import {light}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
