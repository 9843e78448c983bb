/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware that does with plugged PCI devices and modules of memory what ACPI's AML and an operating system do, as a ROM
 * of 64 KiB below 1 MiB. It says on the first serial port: R once it waits for events, U and D for PCI devices that came
 * and that it ejected, M and m for modules. From a virtio disk that came it reads the first sector by the old registers
 * and says its first byte; the disk is ejected as it is, its queue still in use.
 */
    .set GPE, 0xafe0
    .set PCI_UP, 0xae00
    .set PCI_DOWN, 0xae04
    .set PCI_EJECT, 0xae08
    .set PCI_BUS, 0xae10
    .set SLOT, 0xa00
    .set OST_EVENT, 0xa04
    .set OST_STATUS, 0xa08
    .set SLOT_FLAGS, 0xa14
    .set SLOTS, 4
    .set BAR, 0xc000
    .set RING, 0x200000         /* 256 descriptors, then both rings */
    .set AVAIL, RING + 0x1000
    .set USED, RING + 0x2000
    .set HEADER, RING + 0x10000
    .set SECTOR, RING + 0x11000
    .set STATUS, RING + 0x12000

    .include "flat32.inc"

    put 0x3f8, 'R'
wait:
    pause
    mov $GPE, %dx
    in %dx, %ax
    and $0x0a, %ax
    jz wait
    out %ax, %dx                /* seen */
    mov %eax, %esi
    test $2, %esi
    jz memory

    put32 PCI_BUS, 0
    mov $PCI_UP, %dx
    in %dx, %eax
    test %eax, %eax
    jz 1f
    mov %eax, %ebx
    put 0x3f8, 'U'
    bsf %ebx, %ebx
    shl $11, %ebx
    or $0x80000000, %ebx        /* its configuration space */
    call read_sector
1:  mov $PCI_DOWN, %dx
    in %dx, %eax
    test %eax, %eax
    jz memory
    mov $PCI_EJECT, %dx
    out %eax, %dx
    put 0x3f8, 'D'

memory:
    test $8, %esi
    jz wait
    xor %ebx, %ebx
next:
    mov %ebx, %eax
    mov $SLOT, %dx
    out %eax, %dx
    mov $SLOT_FLAGS, %dx
    in %dx, %al
    test $2, %al
    jnz inserted
    test $4, %al
    jz after
    put SLOT_FLAGS, 4
    put SLOT_FLAGS, 8
    put 0x3f8, 'm'
    jmp after
inserted:
    put SLOT_FLAGS, 2
    put32 OST_EVENT, 1          /* device check, success */
    put32 OST_STATUS, 0
    put 0x3f8, 'M'
after:
    inc %ebx
    cmp $SLOTS, %ebx
    jb next
    jmp wait

/* config: register %ecx of the function %ebx is ready at cfch. */
config:
    lea (%ebx, %ecx), %eax
    mov $0xcf8, %dx
    out %eax, %dx
    mov $0xcfc, %dx
    ret

read_sector:
    xor %ecx, %ecx
    call config
    in %dx, %eax
    cmp $0x10011af4, %eax
    jne 9f
    mov $0x10, %ecx
    call config
    mov $BAR, %eax
    out %eax, %dx
    mov $0x04, %ecx
    call config
    mov $0x05, %ax              /* ports, bus master */
    out %ax, %dx

    put BAR + 0x12, 0
    put BAR + 0x12, 3
    put32 BAR + 0x04, 0         /* no features */
    movl $HEADER, RING
    movl $0, RING + 4
    movl $16, RING + 8
    movl $0x00010001, RING + 12 /* next: 1 */
    movl $SECTOR, RING + 16
    movl $0, RING + 20
    movl $512, RING + 24
    movl $0x00020003, RING + 28 /* to be written; next: 2 */
    movl $STATUS, RING + 32
    movl $0, RING + 36
    movl $1, RING + 40
    movl $2, RING + 44
    movl $0, HEADER             /* read sector 0 */
    movl $0, HEADER + 4
    movl $0, HEADER + 8
    movl $0, HEADER + 12
    movl $0x00010000, AVAIL     /* one: descriptor 0 */
    movl $0, AVAIL + 4
    movl $0, USED
    xor %ax, %ax
    mov $BAR + 0x0e, %dx
    out %ax, %dx
    put32 BAR + 0x08, RING / 4096
    put BAR + 0x12, 7
    xor %ax, %ax
    mov $BAR + 0x10, %dx
    out %ax, %dx
1:  pause
    cmpw $1, USED + 2
    jne 1b
    mov SECTOR, %al
    mov $0x3f8, %dx
    out %al, %dx
9:  ret

    .code16
    .org 0xfff0
    ljmp $0xf000, $_start
    .org 0xffff
    .byte 0
