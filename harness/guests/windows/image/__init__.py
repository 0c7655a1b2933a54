"""Windows images: from the user's installation ISO to a sealed, read-only disk.

    found = media.examine(iso)                iso.py, wim.py   which editions the ISO holds
    edition = media.choose(found, profile)    media.py         the one to install, or why none
    answer.render(...)                        answer.py        autounattend.xml
    write_configuration(...)                  configuration.py the second CD: answer file, Python, secrets
    Installation(...).run(...)                installation.py  boot, watch, shut down
    seal(...)                                 sealed.py        manifest, read-only, in place as a whole

`build.py` runs all these steps for `winvm image build`.
"""
