"""WS-Management shell endpoint (WinRS over HTTPS) for guests that have none of their own.

Standard library only. It runs as a Windows process under Wine; the same code runs on Linux for its tests,
where `/bin/sh` takes the place of `cmd.exe`.

    server.py       TLS, HTTP/1.1, authentication, limits      bytes in, bytes out
    envelope.py     SOAP requests, responses and faults        bytes <-> typed values
    service.py      one method per WS-Management action
    shells.py       life cycle of shells and their commands
    process.py      one program with its pipes
    commandline.py  what a command's words mean to the operating system
    job.py          Windows job objects: a program with all its descendants
    archive.py      packs this package into `winrmd.pyz`

Protocol: [MS-WSMV] and DSP0226, as far as pywinrm and pypsrp use them.
"""
