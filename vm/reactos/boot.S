# First sector of a ReactOS guest's disk (harness/guests/reactos/image/disk.py, which holds the assembled bytes).
# Loads FreeLdr, which lies in the sectors between this one and the partition, and starts it as the boot sector of
# the first partition would: at 0000:F800, BIOS drive in DL, partition in DH.
#   clang-19 --target=i386-none-elf -c boot.S -o boot.o
#   ld.lld-19 -m elf_i386 -Ttext=0x7c00 --oformat=binary boot.o -o boot.bin
.code16
.globl _start
_start:
  cli
  xorw %ax,%ax
  movw %ax,%ds
  movw %ax,%es
  movw %ax,%ss
  movw $0x7c00,%sp
  sti
  movb %dl,drive
read:
  movw $packet,%si
  movb $0x42,%ah
  movb drive,%dl
  int $0x13
  jc failed
  addw $(32 * 512 / 16),segment
  addw $32,sector
  subw $32,left
  ja read
  movb drive,%dl
  movb $1,%dh
  ljmp $0,$0xf800
failed:
  movw $0x0e21,%ax
  xorw %bx,%bx
  int $0x10
stop:
  hlt
  jmp stop

.balign 4
packet:
  .byte 16,0
  .word 32,0
segment:
  .word 0xf80
sector:
  .long 1,0
drive:
  .byte 0
# Sectors of FreeLdr; disk.py fills it in.
.org 438
left:
  .word 0
