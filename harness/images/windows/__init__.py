"""Windows images: from the user's installation ISO to a sealed, read-only disk.

    found = media.examine(iso)                iso.py, wim.py   which editions the ISO holds
    edition = media.choose(found, profile)    media.py         the one to install, or why none
    answer.render(...)                        answer.py        autounattend.xml
    write_configuration(...)                  configuration.py the second CD: answer file, Python, secrets
    Installation(...).run(...)                installation.py  boot, watch, shut down
    seal(...)                                 sealed.py        manifest, read-only, in place as a whole

`build.py` is the whole of it as `winvm image build` runs it. The package's modules are no part of the Wine
image's digest, which covers the folder above.
"""
