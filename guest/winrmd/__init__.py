"""WS-Management shell endpoint (WinRS over HTTPS) for guests that have no WinRM service.

It needs the standard library only. It runs as a Windows process under Wine. Its tests run the same code on
Linux, where `/bin/sh` takes the place of `cmd.exe`.

    server.py       TLS, HTTP/1.1, authentication, limits      bytes in, bytes out
    envelope.py     SOAP requests, responses and faults        bytes <-> typed values
    service.py      one method per WS-Management action
    shells.py       life cycle of shells and their commands
    process.py      one program with its pipes
    commandline.py  from a command's words to what the operating system starts
    job.py          Windows job objects: a program with all its descendants
    console.py      the code page of a program's console
    archive.py      packs this package into `winrmd.pyz`

Protocol: the parts of [MS-WSMV] and DSP0226 that pywinrm and pypsrp use.
"""
