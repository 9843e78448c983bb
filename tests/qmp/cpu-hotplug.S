/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware that does with hot-plugged CPUs what ACPI's AML and an operating system do, as a ROM of 64 KiB below 1 MiB.
 * It tells on the first serial port: R once it waits for events; the APIC id (a digit) from each CPU that starts; E after
 * it ejected one. A CPU with APIC id 2 ejects itself, once the first CPU is done with the registers: they select a CPU and
 * then speak of it, so two must not use them at once.
 */
    .set SELECT, 0xaf00
    .set FLAGS, 0xaf04
    .set COMMAND, 0xaf05
    .set DATA, 0xaf08
    .set GPE, 0xafe0
    .set AT_REST, 0x500         /* in RAM: 1 while the first CPU waits for events */

    .include "flat32.inc"

    put SELECT, 0               /* the modern interface, please */
    put 0x3f8, 'R'
wait:
    movb $1, AT_REST
1:  pause
    mov $GPE, %dx
    in %dx, %ax
    test $4, %al
    jz 1b
    movb $0, AT_REST
    mov $4, %ax                 /* seen */
    out %ax, %dx
scan:
    put32 SELECT, 0
    put COMMAND, 0              /* the next CPU with an event */
    mov $FLAGS, %dx
    in %dx, %al
    test $2, %al
    jnz inserted
    test $4, %al
    jnz removing
    jmp wait

inserted:
    put FLAGS, 2
    put COMMAND, 1              /* _OST: device check, success */
    put32 DATA, 1
    put COMMAND, 2
    put32 DATA, 0
    put COMMAND, 3
    mov $DATA, %dx
    in %dx, %eax
    shl $24, %eax
    mov %eax, 0xfee00310
    movl $0x4500, 0xfee00300    /* INIT */
    mov $100000, %ecx
1:  pause
    loop 1b
    movl $0x46fe, 0xfee00300    /* start at 0xfe000 */
    jmp scan

removing:
    put FLAGS, 4
    put FLAGS, 8
    put 0x3f8, 'E'
    jmp scan

    .code16
    .org 0xe000                 /* other CPUs: fe00:0000 */
other:
    cli
    mov $1, %eax
    cpuid
    shr $24, %ebx
    mov %bl, %al
    add $'0', %al
    mov $0x3f8, %dx
    out %al, %dx
    cmp $2, %bl
    jne 3f
    xor %ax, %ax
    mov %ax, %ds
2:  pause
    cmpb $1, AT_REST
    jne 2b
    mov $2, %eax
    mov $SELECT, %dx
    out %eax, %dx
    mov $8, %al
    mov $FLAGS, %dx
    out %al, %dx
3:  hlt
    jmp 3b

    .org 0xfff0
    ljmp $0xf000, $_start
    .org 0xffff
    .byte 0
