/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The option ROM behind -kernel: a boot device whose "boot" loads a kernel through the firmware
 * configuration device's DMA interface and jumps to it. One ROM serves Linux bzImages, PVH kernels
 * and Multiboot images.
 *
 * The host prepares everything (hw/i386/kernel_rom.c): it copies this code, fills in the parameter block
 * and appends a list of DMA requests that move the kernel, its command line and its initial RAM disk
 * to their places. The code runs the requests, adds what only the running firmware knows (memory map,
 * RSDP) for those kernels that get it from their loader, and enters the kernel:
 *
 *   Linux      real mode, as Documentation/x86/boot.rst, "Running the Kernel", says
 *   PVH        32-bit protected mode, %ebx = start_info (Xen's docs/misc/pvh)
 *   Multiboot  32-bit protected mode, %eax = magic, %ebx = information (specification 0.6.96, 3.2)
 *
 * It is data to the host: nothing here is linked against, and all addresses are offsets from the
 * beginning of the ROM, whose segment the firmware chooses (Plug and Play BIOS specification 1.0A, 3.2).
 */
    .section .rodata.kernel_rom, "a", @progbits
    .balign 16
    .globl kernel_rom_begin
    .hidden kernel_rom_begin
    .globl kernel_rom_end
    .hidden kernel_rom_end

    .set DMA_HIGH, 0x514            /* big-endian ports of the 64-bit request address */
    .set DMA_LOW, 0x518
    .set SCRATCH, 0x7c00            /* a request under way, then an E820 entry; the stack is below */

    .code16
kernel_rom_begin:
    .byte 0x55, 0xaa
    .byte 0                         /* size in units of 512 bytes: the host's */
    xor %ax, %ax                    /* initialisation: nothing to do */
    lret
    .org 0x18
    .word 0                         /* no PCI data structure */
    .word pnp - kernel_rom_begin

    /* ---- parameters, filled in by the host: struct of kernel_rom.c ---- */
    .org 0x20
requests:
    .word 0                         /* offset of the list in the ROM */
n_requests:
    .word 0
real_segment:
    .word 0                         /* Linux: segment of the setup code; 0: enter in protected mode */
real_sp:
    .word 0
entry:
    .long 0                         /* protected mode: eip, eax, ebx */
entry_eax:
    .long 0
entry_ebx:
    .long 0
map_segment:
    .word 0                         /* where the memory map goes: 24 bytes an entry */
map_prefix:
    .word 0                         /* bytes of an entry before the E820 data: 0, or 4 for their size */
map_count_at:
    .word 0                         /* in map_segment: where the number of entries goes, 0xffff: nowhere */
map_bytes_at:
    .word 0                         /* ... and the size of the map */
rsdp_at:
    .word 0                         /* ... and the RSDP's address */
    .word 0

    .org 0x40
pnp:
    .ascii "$PnP"
    .byte 1                         /* revision, length / 16, next header */
    .byte 2
    .word 0
    .byte 0
    .byte 0                         /* checksum: the host's */
    .long 0
    .word maker - kernel_rom_begin
    .word product - kernel_rom_begin
    .byte 0, 0, 0
    .byte 0x20                      /* a boot device */
    .word 0
    .word 0
    .word boot - kernel_rom_begin   /* bootstrap entry vector */
    .word 0
    .word 0
maker:
    .asciz "Kiln"
product:
    .asciz "Kiln kernel loader"

boot:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ss
    mov $SCRATCH, %sp
    mov %cs, %ax
    mov %ax, %ds

    /* ---- the requests, one after another ---- */
    movw requests - kernel_rom_begin, %si
    movw n_requests - kernel_rom_begin, %cx
next_request:
    jcxz loaded
    push %cx
    xor %ax, %ax
    mov %ax, %es
    mov $SCRATCH, %di
    mov $4, %cx
    rep movsl
    mov $DMA_HIGH, %dx
    xor %eax, %eax
    outl %eax, %dx
    mov $DMA_LOW, %dx
    mov $((SCRATCH & 0xff) << 24 | (SCRATCH & 0xff00) << 8), %eax
    outl %eax, %dx
    movl %es:SCRATCH, %eax          /* 0 when it is done and well */
    pop %cx
    dec %cx
    test %eax, %eax
    jz next_request
    mov $(message_failed - kernel_rom_begin), %si
    jmp die

loaded:
    sti
    movw real_segment - kernel_rom_begin, %ax
    test %ax, %ax
    jz protected

    /* ---- Linux, in real mode ---- */
    cli
    movw real_sp - kernel_rom_begin, %cx
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    movzwl %cx, %esp
    add $0x20, %ax                  /* the code begins behind the boot sector */
    push %ax
    pushw $0
    xor %eax, %eax
    xor %ebx, %ebx
    xor %ecx, %ecx
    xor %edx, %edx
    xor %esi, %esi
    xor %edi, %edi
    xor %ebp, %ebp
    lret

    /* ---- memory map: INT 15h, AX=E820h ---- */
protected:
    movw map_segment - kernel_rom_begin, %fs
    xor %ebx, %ebx
    xor %bp, %bp                    /* bytes so far */
next_entry:
    xor %ax, %ax
    mov %ax, %es
    mov $SCRATCH, %di
    mov $0xe820, %eax
    mov $0x534d4150, %edx           /* "SMAP" */
    mov $20, %ecx
    int $0x15
    jc map_done
    cmp $0x534d4150, %eax
    jne map_done
    mov %bp, %di
    movl $0, %fs:20(%di)
    movw map_prefix - kernel_rom_begin, %cx
    jcxz 1f
    movl $20, %fs:(%di)             /* Multiboot: the entry's size, without this field */
    add %cx, %di
1:  xor %si, %si
    mov $5, %cx
2:  movl %es:SCRATCH(%si), %eax
    movl %eax, %fs:(%di)
    add $4, %si
    add $4, %di
    loop 2b
    add $24, %bp
    cmp $(128 * 24), %bp            /* the room that the host left */
    jae map_done
    test %ebx, %ebx
    jnz next_entry
map_done:
    movw map_count_at - kernel_rom_begin, %di
    cmp $0xffff, %di
    je 1f
    mov %bp, %ax
    xor %dx, %dx
    mov $24, %cx
    div %cx
    movzwl %ax, %eax
    movl %eax, %fs:(%di)
1:  movw map_bytes_at - kernel_rom_begin, %di
    cmp $0xffff, %di
    je 1f
    movzwl %bp, %eax
    movl %eax, %fs:(%di)
1:

    /* ---- RSDP: on a 16-byte boundary between 0xe0000 and 0xfffff ---- */
    movw rsdp_at - kernel_rom_begin, %di
    cmp $0xffff, %di
    je enter
    mov $0xe000, %ax
1:  mov %ax, %es
    cmpl $0x20445352, %es:0         /* "RSD " */
    jne 2f
    cmpl $0x20525450, %es:4         /* "PTR " */
    jne 2f
    movzwl %ax, %eax
    shl $4, %eax
    movl %eax, %fs:(%di)
    jmp enter
2:  inc %ax
    jnz 1b

    /* ---- flat protected mode ---- */
enter:
    cli
    xor %ebp, %ebp
    mov %cs, %bp
    shl $4, %ebp                    /* linear address of the ROM */
    lea (gdt - kernel_rom_begin)(%ebp), %eax
    push %eax                       /* GDTR: limit and base, on the stack */
    pushw $(gdt_end - gdt - 1)
    mov %sp, %bx
    lgdtl %ss:(%bx)
    movl entry - kernel_rom_begin, %esi
    movl entry_ebx - kernel_rom_begin, %ebx
    movl entry_eax - kernel_rom_begin, %edx
    lea (flat - kernel_rom_begin)(%ebp), %edi
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    pushl $8
    pushl %edi
    lretl

    .code32
flat:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %fs
    mov %eax, %gs
    mov %eax, %ss
    mov $SCRATCH, %esp
    mov %edx, %eax
    xor %ecx, %ecx
    xor %edx, %edx
    xor %edi, %edi
    xor %ebp, %ebp
    jmp *%esi

    .code16
    /* ---- failure: a line on the screen, and the next boot device ---- */
die:
    lodsb
    test %al, %al
    jz 1f
    mov $0x0e, %ah
    mov $7, %bx
    int $0x10
    jmp die
1:  sti
    int $0x18

message_failed:
    .asciz "Kiln: loading the kernel failed: it does not fit into memory\r\n"

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        /* 8: code, 32 bits, 4 GiB */
    .quad 0x00cf93000000ffff        /* 16: data */
gdt_end:

    .balign 16
kernel_rom_end:
    .section .note.GNU-stack, "", @progbits
