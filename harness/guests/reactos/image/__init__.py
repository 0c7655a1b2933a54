"""ReactOS images: what is done to Windows CPython so that it runs on a ReactOS.

read_parts()             recipe.py    which support libraries CPython needs
exports_by_name(...)     imports.py   what the guest's modules export
build_library(...)       support.py   one support library
redirect(...)            imports.py   CPython's import tables, rewritten
unmet(...)               imports.py   what is missing then
"""
