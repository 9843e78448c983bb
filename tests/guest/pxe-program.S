/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a network card's boot ROM fetches (PXE 2.1, 4.4.5): a flat program that is put at 0:7c00h and called in real
 * mode. It prints a text that lies at the end of several blocks of TFTP to COM1, then ends the process through
 * isa-debug-exit (port 0x501).
 */
        .set    ORIGIN, 0x7c00
        .code16
        .text
        .globl  _start
_start: cli /* what the BIOS has yet to print comes by interrupts: not amid this */
        movw    $text - _start + ORIGIN, %si
next:   movb    %cs:(%si), %ah
        incw    %si
        testb   %ah, %ah
        jz      exit
wait:   movw    $0x3fd, %dx
        inb     %dx, %al
        testb   $0x20, %al
        jz      wait
        movb    %ah, %al
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     next
exit:   movw    $0x501, %dx
        movb    $0x10, %al
        outb    %al, %dx
1:      hlt
        jmp     1b
        .org    20000
text:   .asciz  "PXE program runs\r\n"
