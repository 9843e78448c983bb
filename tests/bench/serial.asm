; SPDX-License-Identifier: GPL-2.0-or-later
;
; A 64 KiB firmware that prints COUNT bytes on COM1, 80 a line, and then 'E' on debug port 402h.
;   HOW=POLL   waits for the line status before each byte, as firmware and early consoles do
;   HOW=THRE   sends up to 16 bytes per transmit interrupt with the FIFO on, as Linux does
;
;   nasm -f bin -DHOW=POLL -DCOUNT=5000 serial.asm -o serial.rom

%define POLL 0
%define THRE 1
COM1 equ 0x3f8

bits 16
org 0

%macro outb 2               ; port, value
        mov     dx, %1
        mov     al, %2
        out     dx, al
%endmacro

; The next byte to AL: a column's letter, or the end of a line. Uses BX, the column.
%macro next_byte 0
        inc     bx
        mov     al, 10
        cmp     bx, 80
        jb      %%letter
        xor     bx, bx
        jmp     %%done
%%letter:
        mov     al, 'x'
%%done:
%endmacro

start:  cli
        cld
        xor     ax, ax
        mov     ss, ax
        mov     sp, 0x7000
        mov     ds, ax
        xor     bx, bx
        outb    COM1 + 3, 0x80          ; divisor latch: 115200 baud
        outb    COM1, 1
        outb    COM1 + 1, 0
        outb    COM1 + 3, 3             ; 8N1
        outb    COM1 + 2, 7             ; FIFO on and empty
        outb    COM1 + 4, 0x0b          ; DTR, RTS, OUT2
        mov     cx, COUNT
%if HOW == POLL
again:  mov     dx, COM1 + 5
poll:   in      al, dx
        test    al, 0x20
        jz      poll
        next_byte
        mov     dx, COM1
        out     dx, al
        dec     cx
        jnz     again
%else
        mov     word [0x0c * 4], interrupt
        mov     word [0x0c * 4 + 2], cs
        outb    0x20, 0x11              ; 8259: vectors from 8, IRQ 4 alone
        outb    0x21, 0x08
        outb    0x21, 0x04
        outb    0x21, 0x01
        outb    0x21, 0xef
        o32 lgdt [cs:gdt_pointer]       ; the local APIC passes the 8259's interrupts on
        mov     eax, cr0                ; protected mode and back, for a segment of 4 GiB
        or      al, 1
        mov     cr0, eax
        mov     dx, 8
        mov     ds, dx
        and     al, 0xfe
        mov     cr0, eax
        a32 mov dword [dword 0xfee000f0], 0x1ff ; on
        a32 mov dword [dword 0xfee00350], 0x700 ; LINT0: ExtINT
        outb    COM1 + 1, 2             ; an interrupt when the transmitter is empty
idle:   sti
        hlt
        cli
        test    cx, cx
        jnz     idle
%endif
        outb    0x402, 'E'
stop:   cli
        hlt
        jmp     stop

%if HOW == THRE
interrupt:
        mov     dx, COM1 + 2
        in      al, dx                  ; says "transmitter empty", and that acknowledges it
        test    al, 1
        jnz     done
        mov     si, 16
        mov     dx, COM1
fill:   next_byte
        out     dx, al
        dec     cx
        jz      last
        dec     si
        jnz     fill
        jmp     done
last:   outb    COM1 + 1, 0
done:   mov     al, 0x20
        out     0x20, al
        iret

align 8
gdt:    dq      0, 0x00cf93000000ffff   ; data, 4 GiB
gdt_pointer:
        dw      gdt_pointer - gdt - 1
        dd      0xffff0000 + gdt
%endif

times 0xfff0 - ($ - $$) db 0
        jmp     0xf000:start
times 0x10000 - ($ - $$) db 0
