"""MkDocs hook: formulas become MathML when a page is made, so that it needs no script."""

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)


def on_page_content(content: str, **_) -> str:
    """Replace what the arithmatex extension marks as a formula."""

    def formula(match: re.Match) -> str:
        return convert(html.unescape(match[3]), display="inline" if match[2] == "(" else "block")

    return FORMULA.sub(formula, content)
