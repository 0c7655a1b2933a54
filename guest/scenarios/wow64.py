"""32-bit callers: pointers have 4 bytes in their requests and answers, and must fit their address space.

The 32-bit process is Windows's own 32-bit PowerShell, which compiles a few lines of C#. No program has to be
built or deployed for it.
"""

from __future__ import annotations

import base64
import struct
import subprocess

from agent import Context, equal, scenario
from scenarios import heap_pointer, mdl

POWERSHELL = "C:\\Windows\\SysWOW64\\WindowsPowerShell\\v1.0\\powershell.exe"
NARROW = f"""
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
if ([IntPtr]::Size -ne 4) {{ throw 'this is not a 32-bit process' }}
Add-Type -TypeDefinition @'
using System;
using System.Runtime.InteropServices;
public static class Native {{
    [DllImport("kernel32", CharSet = CharSet.Unicode, SetLastError = true)]
    public static extern IntPtr CreateFileW(string name, uint access, uint share, IntPtr security,
                                            uint disposition, uint flags, IntPtr template);
    [DllImport("kernel32", SetLastError = true)]
    public static extern bool DeviceIoControl(IntPtr handle, uint code, byte[] input, int inputSize,
                                              byte[] output, int outputSize, out int count, IntPtr unused);
    public static IntPtr Open(string name) {{
        IntPtr handle = CreateFileW(name, 0xC0000000, 3, IntPtr.Zero, 3, 0, IntPtr.Zero);
        if (handle == (IntPtr)(-1)) throw new System.ComponentModel.Win32Exception();
        return handle;
    }}
    // "error n" or the answer's bytes in hexadecimal
    public static string Ask(IntPtr handle, uint code, byte[] input, int room) {{
        byte[] output = new byte[room];
        int count;
        if (!DeviceIoControl(handle, code, input, input.Length, output, room, out count, IntPtr.Zero))
            return "error " + Marshal.GetLastWin32Error();
        return BitConverter.ToString(output, 0, count).Replace("-", "");
    }}
    public static string Peek(IntPtr address, int size) {{
        byte[] bytes = new byte[size];
        Marshal.Copy(address, bytes, 0, size);
        return BitConverter.ToString(bytes).Replace("-", "");
    }}
    public static byte[] Request(uint size, IntPtr address) {{
        byte[] request = new byte[8];
        BitConverter.GetBytes(size).CopyTo(request, 0);
        BitConverter.GetBytes(address.ToInt32()).CopyTo(request, 4);
        return request;
    }}
}}
'@
# Not through the pipeline, which may fold long lines.
function Say($text) {{ [Console]::Out.WriteLine($text) }}
$device = [Native]::Open('\\\\.\\{mdl.LINK}')
"""


def run_narrow(t: Context, script: str) -> list[str]:
    """Runs the declarations above and a script in a 32-bit process; returns the lines that it wrote."""
    encoded = base64.b64encode((NARROW + script).encode("utf-16-le")).decode("ascii")
    t.record("CreateProcess", f"{POWERSHELL} ({len(script)} characters of script)")
    done = subprocess.run(
        [POWERSHELL, "-NoLogo", "-NoProfile", "-NonInteractive", "-EncodedCommand", encoded],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=t.deadline.remaining(),
        check=False,
    )
    equal(done.returncode, 0, f"exit code of the 32-bit process, which wrote {done.stderr[-2000:]!r}")
    return done.stdout.decode("ascii", "replace").split("\r\n")[:-1]


@scenario(needs=("wow64", "user-mdl-mapping"), deadline_s=120)
def mapping_of_a_32_bit_caller(t: Context) -> None:
    """A 32-bit caller gets a 4-byte address below 4 GB with the records behind it; 3 bytes are too few."""
    short, answer, content = run_narrow(
        t,
        f"""
Say ([Native]::Ask($device, {mdl.MAP}, (New-Object byte[] 0), 3))
$answer = [Native]::Ask($device, {mdl.MAP}, (New-Object byte[] 0), 8)
Say $answer
$bytes = New-Object byte[] 4
for ($i = 0; $i -lt 4; $i++) {{ $bytes[$i] = [Convert]::ToByte($answer.Substring(2 * $i, 2), 16) }}
Say ([Native]::Peek([IntPtr][BitConverter]::ToInt32($bytes, 0), {mdl.RECORDS * mdl.RECORD_BYTES}))
""",
    )
    equal(short, "error 122", "the answer with room for 3 bytes")
    equal(len(answer), 8, "hexadecimal digits of the address")
    equal(bytes.fromhex(content) == mdl.CONTENT, True, "whether all 716 records are as they should be")


@scenario(needs=("wow64", "caller-address-space"), deadline_s=120)
def heap_of_a_32_bit_caller(t: Context) -> None:
    """A 32-bit caller's {nSize, BufferPtr} has 8 bytes; its heap gets ten records, bad requests fail."""
    lines = run_narrow(
        t,
        f"""
$size = {heap_pointer.BYTES}
$block = [System.Runtime.InteropServices.Marshal]::AllocHGlobal($size)
Say ([Native]::Ask($device, {heap_pointer.FILL}, [Native]::Request($size, $block), 4))
Say ([Native]::Peek($block, $size))
Say ([Native]::Ask($device, {heap_pointer.FILL}, [Native]::Request($size - 1, $block), 4))
Say ([Native]::Ask($device, {heap_pointer.FILL}, [Native]::Request($size, [IntPtr]::Zero), 4))
Say ([Native]::Ask($device, {heap_pointer.FILL}, [Native]::Request($size, [IntPtr](-8)), 4))
Say ([Native]::Ask($device, {heap_pointer.FILL}, (New-Object byte[] 7), 4))
""",
    )
    equal(lines[0], struct.pack("<I", 10).hex().upper(), "the count")
    equal(bytes.fromhex(lines[1]), heap_pointer.RECORDS, "the heap block")
    equal(
        lines[2:],
        ["error 122", "error 998", "error 998", "error 24"],
        "answers to a small block, NULL, the top of the address space and a short request",
    )
