/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Multiboot kernel (specification 0.6.96): prints the command line, the upper memory and the first module's
 * text to COM1, then ends the process through isa-debug-exit (port 0x501).
 */
        .set    MAGIC, 0x1badb002
        .set    FLAGS, 0x00000003            /* align modules, give memory */
        .text
        .align  4
        .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
        .globl  _start
_start: cmpl    $0x2badb002, %eax
        jne     bad
        movl    $stack, %esp
        movl    %ebx, %ebp                   /* the information structure */
        movl    $hello, %esi
        call    puts
        movl    16(%ebp), %esi               /* cmdline */
        call    puts
        movl    $newline, %esi
        call    puts
        testl   $8, (%ebp)                   /* modules? */
        jz      done
        cmpl    $0, 20(%ebp)
        je      done
        movl    $module, %esi
        call    puts
        movl    24(%ebp), %eax
        movl    (%eax), %esi                 /* its start; the file ends with a NUL */
        call    puts
done:   movb    $0x10, %al
        jmp     exit
bad:    movb    $0x20, %al
exit:   movw    $0x501, %dx
        outb    %al, %dx
1:      hlt
        jmp     1b

puts:   lodsb
        testb   %al, %al
        jz      2f
        movb    %al, %ah
1:      movw    $0x3fd, %dx
        inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        movb    %ah, %al
        movw    $0x3f8, %dx
        outb    %al, %dx
        jmp     puts
2:      ret

hello:  .asciz  "MULTIBOOT cmdline="
newline: .asciz "\n"
module: .asciz  "MULTIBOOT module="
        .bss
        .skip   4096
stack:
