# Stands in for Windows Setup on an installation ISO: asks for a key, reports its phases on COM2, "installs" itself
# onto the disk, restarts, goes on from there to the first logon, and switches the machine off. Started once more, it
# provisions. BIOS, real mode, loaded to 0x7c00 whole from the CD (El Torito) and by its first sector from the disk,
# whose fifth sector says that Setup is done. HANG: stops after its first line. FAIL: the provisioning fails.
# clang-19 -c --target=i386-none-none install_payload.S; ld.lld-19 -Ttext=0x7c00 --oformat=binary
.code16
.globl start
start:
    ljmp $0, $flat
flat:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    sti
    cld
    cmpb $0x80, %dl                 # the BIOS says what it booted from
    je installed

    movw $prompt, %si
show:
    lodsb
    testb %al, %al
    jz shown
    movb $0x0e, %ah                 # teletype output
    xorw %bx, %bx
    int $0x10
    jmp show
shown:
    xorb %ah, %ah                   # wait for a key
    int $0x16
    movw $setup, %si
    call say
#ifdef HANG
    jmp stop
#endif
    movw $0x0304, %ax               # write four sectors
    movw $0x7c00, %bx
    movw $0x0001, %cx               # cylinder 0, sector 1
    movw $0x0080, %dx               # head 0, first disk
    int $0x13
    jc stop
    movw $0xcf9, %dx                # reset control register: full reset
    movb $0x06, %al
    outb %al, %dx
    jmp stop

installed:
    movw $0x0204, %ax               # read the others, and the one that says how far it got
    movw $0x7e00, %bx
    movw $0x0002, %cx
    movw $0x0080, %dx
    int $0x13
    jc stop
    movw $rest, %si
    cmpb $0, 0x8400                 # the fifth sector
    jne off
    movb $1, 0x8400
    movw $0x0301, %ax               # write it
    movw $0x8400, %bx
    movw $0x0005, %cx
    movw $0x0080, %dx
    int $0x13
    jc stop
    movw $logon, %si
off:
    call say
    movw $0x0604, %dx               # PM1a control of the chipset, as SeaBIOS places it: soft off
    movw $0x2000, %ax
    outw %ax, %dx
stop:
    hlt
    jmp stop

say:                                # the text at SI to COM2
    lodsb
    testb %al, %al
    jz said
    movb %al, %ah
ready:
    movw $0x2fd, %dx                # line status: transmitter empty
    inb %dx, %al
    testb $0x20, %al
    jz ready
    movw $0x2f8, %dx
    movb %ah, %al
    outb %al, %dx
    jmp say
said:
    ret

prompt:
    .asciz "Press any key to boot from CD or DVD....."
.org 510
    .word 0xaa55
setup:
    .asciz "{\"step\":\"windowsPE\",\"phase\":\"setup\",\"state\":\"running\"}\n"
logon:
    .ascii "{\"step\":\"specialize\",\"phase\":\"setup\",\"state\":\"running\"}\n"
    .ascii "{\"step\":\"first logon\",\"phase\":\"setup\",\"state\":\"running\"}\n"
    .asciz "{\"step\":\"setup done\",\"phase\":\"end\",\"state\":\"ok\"}\n"
rest:
    .ascii "{\"step\":\"configuration\",\"phase\":\"setup\",\"state\":\"running\"}\n"
    .ascii "{\"step\":\"provision\",\"phase\":\"start\",\"state\":\"running\",\"seconds\":0,\"message\":\"\"}\n"
    .ascii "{\"step\":\"test signing\",\"phase\":\"apply\",\"state\":\"running\",\"seconds\":0,\"message\":\"\"}\n"
    .ascii "{\"step\":\"test signing\",\"phase\":\"check\",\"state\":\"ok\",\"seconds\":0,\"message\":\"\","
    .ascii "\"setting\":\"testsigning\",\"wanted\":\"Yes\",\"found\":\"Yes\"}\n"
#ifdef FAIL
    .asciz "{\"step\":\"provision\",\"phase\":\"end\",\"state\":\"failed\",\"message\":\"sshd is not as wanted\"}\n"
#else
    .asciz "{\"step\":\"provision\",\"phase\":\"end\",\"state\":\"ok\",\"seconds\":9,\"message\":\"\"}\n"
#endif
.org 2048
