; SPDX-License-Identifier: GPL-2.0-or-later
;
; A 64 KiB firmware that makes COUNT accesses of one KIND, for the cost of an exit in user space.
; It writes 'S' to the debug port 402h with its first instructions, and 'E' when it is through; then it halts.
; Paging stays off, and interrupts too.
;
;   nasm -f bin -DKIND=PMTIMER -DCOUNT=100000 exits.asm -o exits.rom

%define NONE 0
%define UNASSIGNED 1        ; write of a port that nobody decodes
%define DEBUGCON 2          ; write of debug port 403h
%define PMTIMER 3           ; read of the ACPI timer
%define PCICONFIG 4         ; read of the host bridge's ID
%define CMOS 5              ; index write and data read of the RTC: two exits
%define MMIO 6              ; read of the HPET's capabilities
%define UNASSIGNED_MMIO 7   ; read of memory that nobody decodes

MARK equ 0x402
BULK equ 0x403
PMBASE equ 0x600
PIIX4_PM equ 0x80000b00     ; bus 0, device 1, function 3

bits 16
org 0

%macro config_write 2       ; register, value
        mov     eax, PIIX4_PM + %1
        mov     dx, 0xcf8
        out     dx, eax
        mov     eax, %2
        mov     dx, 0xcfc
        out     dx, eax
%endmacro

start:
        cli
        cld
%if KIND == PMTIMER
        config_write 0x40, PMBASE | 1
        config_write 0x80, 1            ; PMREGMISC: the I/O space is on
%elif KIND == PCICONFIG
        mov     eax, 0x80000000
        mov     dx, 0xcf8
        out     dx, eax
%elif KIND == MMIO || KIND == UNASSIGNED_MMIO
        o32 lgdt [cs:gdt_pointer]
        mov     eax, cr0                ; protected mode and back, for segments of 4 GiB
        or      al, 1
        mov     cr0, eax
        mov     bx, 8
        mov     ds, bx
        and     al, 0xfe
        mov     cr0, eax
%endif
        mov     ecx, COUNT
%if COUNT > 0
again:
  %if KIND == UNASSIGNED
        mov     dx, 0x2f0
        out     dx, al
  %elif KIND == DEBUGCON
        mov     dx, BULK
        out     dx, al
  %elif KIND == PMTIMER
        mov     dx, PMBASE + 8
        in      eax, dx
  %elif KIND == PCICONFIG
        mov     dx, 0xcfc
        in      eax, dx
  %elif KIND == CMOS
        mov     al, 0x0d
        out     0x70, al
        in      al, 0x71
  %elif KIND == MMIO
        a32 mov eax, [dword 0xfed00000]
  %elif KIND == UNASSIGNED_MMIO
        a32 mov eax, [dword 0xfea00000]
  %endif
        dec     ecx
        jnz     again
%endif
        mov     al, 'E'
        mov     dx, MARK
        out     dx, al
stop:   hlt
        jmp     stop

align 8
gdt:    dq      0, 0x00cf93000000ffff   ; data, 4 GiB
gdt_pointer:
        dw      gdt_pointer - gdt - 1
        dd      0xffff0000 + gdt

times 0xfff0 - ($ - $$) db 0
reset:  mov     al, 'S'
        mov     dx, MARK
        out     dx, al
        jmp     near start
times 0x10000 - ($ - $$) db 0
