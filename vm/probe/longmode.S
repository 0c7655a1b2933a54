# Boot sector of the accelerator probe (harness/machine/accelerator.py, which holds the assembled bytes).
# Does what every 64-bit kernel does first: page tables, EFER.LME, long mode, an interrupt and its IRETQ.
# Success is 0x2a written to QEMU's isa-debug-exit at port 0x501; anything else ends in HLT.
#   as longmode.S -o longmode.o && ld -Ttext=0x7c00 --oformat=binary longmode.o -o longmode.bin
.code16
.globl _start
_start:
  cli
  xorw %ax,%ax
  movw %ax,%ds
  movw %ax,%es
  movw %ax,%ss
  movw $0x7c00,%sp
  cld
  # page tables at 0x1000: PML4, PDPT, PD with one 2 MiB page
  movw $0x1000,%di
  movw $0x1800,%cx
  rep stosw
  movw $0x2003,0x1000
  movw $0x3003,0x2000
  movw $0x0083,0x3000
  movl %cr4,%eax
  orl $0x20,%eax
  movl %eax,%cr4
  movl $0x1000,%eax
  movl %eax,%cr3
  movl $0xc0000080,%ecx
  rdmsr
  orl $0x100,%eax
  wrmsr
  lgdtl gdtr
  movl %cr0,%eax
  orl $0x80000001,%eax
  movl %eax,%cr0
  ljmp $8,$long
.code64
long:
  movl $16,%eax
  movl %eax,%ds
  movl %eax,%es
  movl %eax,%ss
  # an IDT at 0x4000 whose gate 3 leads to handler: int3 and iretq, as every kernel does
  movl $handler,%eax
  movw %ax,0x4030
  movl $0x8e000008,0x4032
  movl $0,0x4036
  lidtq idtr
  xorl %ebx,%ebx
  int3
  cmpl $0x5a,%ebx
  jne hang
  movl $0x2a,%eax
  movw $0x501,%dx
  outb %al,%dx
hang:
  hlt
  jmp hang
handler:
  movl $0x5a,%ebx
  iretq
.balign 8
gdt: .quad 0, 0x00209a0000000000, 0x0000920000000000
gdtr: .word 23
  .long gdt
idtr: .word 0x3f
  .quad 0x4000
. = 510
.byte 0x55,0xaa
