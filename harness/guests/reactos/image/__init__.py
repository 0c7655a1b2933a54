"""ReactOS images: from the user's live CD to a sealed, read-only disk.

    unpack(...)              iso.py       the files of a live CD
    read_parts()             recipe.py    which support libraries Windows CPython needs
    exports_by_name(...)     imports.py   what the guest's modules export
    build_library(...)       support.py   one support library
    redirect(...)            imports.py   CPython's import tables, rewritten
    unmet(...)               imports.py   what is missing then
    install(...)             python.py    all of that for one interpreter
    write_disk(...)          disk.py      the disk, with its boot loader
    seal(...)                sealed.py    manifest, read-only, in place as a whole

`build.py` runs these steps for `winvm image build`.
"""
