"""The thirty operations that crash, among unrelated ones, which `--minimise` removes."""

from agent import Context, Crash, scenario
from scenarios import fault, registers


@scenario(build="fault", expect_crash=Crash(bugcheck=fault.SEQUENCE_BUGCHECK, parameters=(30, 0, 0, 0)))
def sequence_in_noise(t: Context) -> None:
    """Begins the sequence without completing it, then completes it while other devices are used."""
    with t.open(registers.LINK) as other, t.open("LySharkSync") as reader, t.open(fault.LINK) as device:
        fault.arm(device)
        for opcode in fault.SEQUENCE[:4]:
            fault.step(device, opcode)
        for number, opcode in enumerate(fault.SEQUENCE):
            if number % 5 == 0:
                other.write(b"\1\2\3\4")
                other.read(4)
                reader.read(20)
            fault.step(device, opcode)
