/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware that shows what reaches a guest, as a ROM of 64 KiB below 1 MiB. It says on the first serial port: R when it
 * starts, what comes from the keyboard, N for an NMI, P for the power button, upon which it powers off.
 */
    .set with_idt, 1
    .include "flat32.inc"

    movl $0x400, 0xfee00360     /* its LINT1 takes NMIs */
    put32 0xcf8, 0x80000b40     /* power management at b000h */
    put32 0xcfc, 0xb001
    put32 0xcf8, 0x80000b80
    put 0xcfc, 1
    mov $0x100, %ax             /* the power button's event */
    mov $0xb002, %dx
    out %ax, %dx
    put 0x3f8, 'R'
wait:
    pause
    mov $0xb000, %dx
    in %dx, %ax
    test $1, %ah
    jnz power
    in $0x64, %al
    test $1, %al
    jz wait
    in $0x60, %al
    mov $0x3f8, %dx
    out %al, %dx
    jmp wait

power:
    mov $0x100, %ax             /* seen */
    out %ax, %dx
    put 0x3f8, 'P'
    mov $0x2000, %ax            /* S5 */
    mov $0xb004, %dx
    out %ax, %dx
    jmp wait

    .align 8
idt:
    .quad 0, 0
    .word nmi, 8, 0x8e00, 0x000f
idt_pointer:
    .word 23
    .long 0xf0000 + idt

nmi:                            /* the first one only: without IRET the others wait until a reset */
    put 0x3f8, 'N'
    mov $0x7000, %esp
    jmp wait

    .code16
    .org 0xfff0
    ljmp $0xf000, $_start
    .org 0xffff
    .byte 0
