/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that programs everything with random values: all ports, all MMIO, PCI configuration with
 * BARs put anywhere, DMA aimed at RAM, ROM, holes and the devices' own registers. The machine must
 * neither crash nor hang; what it answers does not matter.
 *
 * The numbers come from GTest's generator: --seed=R02S... (printed first) repeats a run.
 * FUZZ_STEPS=n makes more of them (default 30000 a case); QTEST_LOG=1 shows each request.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/qtest/libqtest.h"

#define DEFAULT_STEPS 30000
#define BATCH 64
#define RAM_SIZE 0x2000000
#define DISK_SIZE (1 << 20)

typedef struct Range {
    uint64_t base;
    uint32_t size;
    unsigned weight;
} Range;

static const Range ports[] = {
    {0x0000, 0x10000, 4},                               /* everything */
    {0x0000, 0x10, 2},    {0x0080, 0x10, 1},    {0x00c0, 0x20, 2}, /* DMA controllers */
    {0x0020, 0x02, 2},    {0x00a0, 0x02, 2},    {0x04d0, 0x02, 1}, /* 8259 */
    {0x0040, 0x04, 3},    {0x0061, 0x01, 1},            /* timer, speaker */
    {0x0060, 0x05, 3},    {0x0092, 0x01, 1},            /* keyboard, A20 */
    {0x0070, 0x02, 3},                                  /* RTC */
    {0x00b2, 0x02, 1},                                  /* SMI */
    {0x0170, 0x08, 4},    {0x0376, 0x01, 1},            /* IDE */
    {0x01f0, 0x08, 6},    {0x03f6, 0x01, 1},
    {0x03f0, 0x08, 5},                                  /* floppy */
    {0x03f8, 0x08, 2},    {0x02f8, 0x08, 1},    {0x0378, 0x03, 1}, /* serial, parallel */
    {0x0402, 0x01, 1},    {0x0505, 0x02, 1},            /* debug console, pvpanic */
    {0x0510, 0x0c, 3},                                  /* fw_cfg */
    {0x0600, 0x40, 3},    {0x0700, 0x40, 1},    {0xb100, 0x40, 1}, /* PIIX4 PM, SMBus */
    {0x0a00, 0x18, 2},    {0xae00, 0x18, 2},    {0xaf00, 0x20, 1},    {0xafe0, 0x04, 1}, /* ACPI hot-plug */
    {0x0cf8, 0x08, 4},                                  /* PCI, reset control */
    {0xc000, 0x100, 4},                                 /* BARs, where we put them */
};

static const Range memory[] = {
    {0xfec00000, 0x20, 4},      {0xfec00000, 0x1000, 1}, /* I/O APIC */
    {0xfed00000, 0x160, 4},     {0xfed00000, 0x400, 1},  /* HPET */
    {0xfee00000, 0x400, 3},     {0xfee00000, 0x100000, 1}, /* local APIC, messages */
    {0xe0000000, 0x10000, 3},                            /* BARs, where we put them */
    {0xe0200000, 0x40000, 2},   {0xe0202800, 0x30, 1},   /* registers of two e1000 */
    {0xe0300000, 0x100, 2},                              /* and of an rtl8139 */
    {0xe0440000, 0x40000, 1},                            /* of four virtio devices, their MSI-X tables */
    {0x000a0000, 0x60000, 2},   {0xfffc0000, 0x40000, 1}, /* below 1 MiB, firmware */
    {0x00000000, RAM_SIZE, 3},  {RAM_SIZE - 64, 128, 1},
    {0xfffffff0, 0x20, 1},      {UINT64_C(0x100000000), 0x1000, 1},
};

static uint32_t rnd(uint32_t below) { return (uint32_t)g_test_rand_int() % below; }

static uint64_t pick(const Range *ranges, unsigned n)
{
    unsigned total = 0, at;

    for (unsigned i = 0; i < n; i++) {
        total += ranges[i].weight;
    }
    at = rnd(total);
    for (; at >= ranges->weight; ranges++) {
        at -= ranges->weight;
    }
    return ranges->base + rnd(ranges->size);
}

static uint64_t any_address(void) { return pick(memory, G_N_ELEMENTS(memory)); }

/* Values that registers find interesting. */
static uint64_t any_value(void)
{
    static const uint64_t odd[] = {0,      1,      0x7f,       0x80,       0xff,       0x7fff,
                                   0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX};

    switch (rnd(6)) {
    case 0:
        return odd[rnd(G_N_ELEMENTS(odd))];
    case 1:
        return any_address();
    case 2:
        return UINT64_C(1) << rnd(64);
    case 3:
        return rnd(256);
    default:
        return (uint64_t)(uint32_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();
    }
}

/* ---- steps: each adds some lines -------------------------------------------------------- */

static const char sizes[] = "bwlq";

static void out(GString *s, char size, unsigned port, uint64_t value)
{
    g_string_append_printf(s, "out%c 0x%x 0x%" PRIx64 "\n", size, port & 0xffff, value);
}

static void step_port(GString *s)
{
    unsigned port = pick(ports, G_N_ELEMENTS(ports)) & 0xffff;
    char size = rnd(2) ? 'b' : sizes[rnd(3)];

    if (rnd(3)) {
        out(s, size, port, any_value());
    } else {
        g_string_append_printf(s, "in%c 0x%x\n", size, port);
    }
}

static void step_memory(GString *s)
{
    char size = rnd(2) ? 'l' : sizes[rnd(4)];
    uint64_t addr = any_address();

    if (rnd(3)) {
        g_string_append_printf(s, "write%c 0x%" PRIx64 " 0x%" PRIx64 "\n", size, addr, any_value());
    } else {
        g_string_append_printf(s, "read%c 0x%" PRIx64 "\n", size, addr);
    }
}

static void step_block(GString *s)
{
    if (rnd(2)) {
        g_string_append_printf(s, "memset 0x%" PRIx64 " 0x%x 0x%x\n", any_address(), rnd(512),
                               rnd(256));
    } else {
        g_string_append_printf(s, "read 0x%" PRIx64 " 0x%x\n", any_address(), 1 + rnd(512));
    }
}

static uint64_t pci_value(void)
{
    switch (rnd(4)) {
    case 0:
        return 7; /* memory, ports, bus master */
    case 1:
        return rnd(2) ? 0xc000 + rnd(0x100) : 0xe0000000 + (rnd(16) << 12);
    default:
        return any_value();
    }
}

static void step_pci(GString *s)
{
    static const uint8_t regs[] = {0x04, 0x04, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x20,
                                   0x24, 0x30, 0x3c, 0x40, 0x59, 0x60, 0x72};
    unsigned slot = rnd(4) ? rnd(8) : rnd(32), function = rnd(4);
    unsigned reg = rnd(2) ? regs[rnd(G_N_ELEMENTS(regs))] : rnd(256);

    out(s, 'l', 0xcf8, 0x80000000u | slot << 11 | function << 8 | (reg & 0xfc));
    if (rnd(4)) {
        out(s, sizes[rnd(3)], 0xcfc + (reg & 3), pci_value());
    } else {
        g_string_append_printf(s, "inl 0xcfc\n");
    }
}

/* A device's first BARs to where the ranges above expect them. */
static void step_map(GString *s)
{
    unsigned slot = 1 + rnd(7);
    uint32_t base = 0x80000000u | slot << 11;

    for (unsigned n = 0; n < 3; n++) {
        out(s, 'l', 0xcf8, base | (0x10 + 4 * n));
        out(s, 'l', 0xcfc, rnd(2) ? 0xe0000000 + (rnd(16) << 12) : 0xc000 + (rnd(8) << 5));
    }
    out(s, 'l', 0xcf8, base | 4);
    out(s, 'w', 0xcfc, 7);
}

/* A table of regions in RAM, and the bus master set to it: some of them are registers. */
static void step_ide_dma(GString *s)
{
    static const uint8_t commands[] = {0xc8, 0xca, 0x25, 0x35, 0xa0, 0x20, 0x30,
                                       0xc4, 0xc5, 0xe7, 0xec, 0xa1, 0x08, 0x06};
    unsigned second = rnd(2), base = 0xc000 + 8 * second, task = second ? 0x170 : 0x1f0;
    uint32_t table = rnd(4) ? 0x10000 + 8 * rnd(64) : (uint32_t)any_address();
    unsigned n = 1 + rnd(4);

    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(s, "writel 0x%x 0x%" PRIx64 "\n", table + 8 * i,
                               any_address() & 0xffffffff);
        g_string_append_printf(s, "writel 0x%x 0x%x\n", table + 8 * i + 4,
                               (i + 1 == n && rnd(8) ? 0x80000000u : 0) |
                                   (rnd(4) ? 512 * rnd(8) : rnd(65536)));
    }
    out(s, 'l', 0xcf8, 0x80000920); /* PIIX3 IDE's BAR 4, its command register */
    out(s, 'l', 0xcfc, 0xc001);
    out(s, 'l', 0xcf8, 0x80000904);
    out(s, 'w', 0xcfc, 5);
    out(s, 'l', base + 4, table);
    out(s, 'b', base + 2, 0x66);
    out(s, 'b', task + 6, rnd(2) ? 0xe0 : 0xf0);
    out(s, 'b', task + 2, rnd(4) ? 1 + rnd(8) : rnd(256));
    out(s, 'b', task + 3, rnd(256));
    out(s, 'b', task + 4, rnd(2) ? rnd(8) : rnd(256));
    out(s, 'b', task + 5, rnd(4) ? 0 : rnd(256));
    out(s, 'b', task + 1, rnd(2));
    out(s, 'b', task + 7, commands[rnd(G_N_ELEMENTS(commands))]);
    out(s, 'b', base, 1 | (rnd(2) ? 8 : 0));
}

static void step_atapi(GString *s)
{
    static const uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x43,
                                      0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xad, 0xbd, 0xbe};
    uint8_t packet[12] = {opcodes[rnd(G_N_ELEMENTS(opcodes))]};
    unsigned task = rnd(4) ? 0x170 : 0x1f0, words = rnd(8) ? 6 : rnd(10);

    for (unsigned i = 1; i < 12; i++) {
        packet[i] = rnd(3) ? 0 : rnd(2) ? rnd(16) : rnd(256);
    }
    out(s, 'b', task + 6, 0xa0);
    out(s, 'b', task + 1, rnd(4) == 0);
    out(s, 'w', task + 4, 0);
    out(s, 'b', task + 5, rnd(4));
    out(s, 'b', task + 4, rnd(256));
    out(s, 'b', task + 7, 0xa0);
    for (unsigned i = 0; i < words; i++) {
        out(s, 'w', task, packet[2 * i % 12] | packet[(2 * i + 1) % 12] << 8);
    }
    for (unsigned i = rnd(20); i; i--) {
        g_string_append_printf(s, "inl 0x%x\n", task);
    }
}

static void store_be(GString *s, uint64_t addr, uint64_t value, unsigned size)
{
    g_string_append_printf(s, "write 0x%" PRIx64 " %u 0x%0*" PRIx64 "\n", addr, size, 2 * (int)size,
                           value);
}

static void step_fw_cfg_dma(GString *s)
{
    uint32_t control = rnd(2) ? rnd(0x30) << 16 | rnd(32) : (uint32_t)any_value();
    uint64_t at = rnd(8) ? 0x8000 + 16 * rnd(16) : any_address();

    store_be(s, at, control, 4);
    store_be(s, at + 4, rnd(2) ? rnd(5000) : (uint32_t)any_value(), 4);
    store_be(s, at + 8, rnd(8) ? any_address() : any_value(), 8);
    out(s, 'l', 0x514, GUINT32_SWAP_LE_BE((uint32_t)(at >> 32)));
    out(s, 'l', 0x518, GUINT32_SWAP_LE_BE((uint32_t)at));
}

/* The 8237's channel 2 anywhere below 16 MiB, then a floppy command with its parameters. */
static void step_floppy(GString *s)
{
    static const uint8_t commands[] = {0x46, 0xe6, 0x45, 0xc5, 0x4d, 0x07, 0x08, 0x0f,
                                       0x4a, 0x03, 0x13, 0x0e, 0x10, 0x12, 0x94, 0x8e,
                                       0x04, 0x18, 0x33, 0xcd, 0x5c, 0x11, 0x19, 0x1d};

    out(s, 'b', 0x0a, 0x06);
    out(s, 'b', 0x0c, 0);
    out(s, 'b', 0x04, rnd(256));
    out(s, 'b', 0x04, rnd(256));
    out(s, 'b', 0x05, rnd(256));
    out(s, 'b', 0x05, rnd(8));
    out(s, 'b', 0x81, rnd(2) ? rnd(256) : 0x0a + rnd(6));
    out(s, 'b', 0x0b, rnd(4) ? (rnd(2) ? 0x46 : 0x4a) : rnd(256));
    out(s, 'b', 0x0a, 0x02);
    if (rnd(2)) {
        out(s, 'b', 0x3f2, 0x18); /* reset: a command that is half written is forgotten */
    }
    out(s, 'b', 0x3f2, rnd(8) ? rnd(4) ? 0x1c : 0x14 : rnd(256));
    if (rnd(2)) {
        static const uint8_t transfers[] = {0x46, 0xe6, 0x45, 0xc5, 0x51, 0xf1, 0x4d, 0x4a};
        const uint8_t parameters[] = {rnd(8) ? 0 : 4, rnd(80), rnd(2), 1 + rnd(18), 2, 18,
                                      0x1b,           0xff};

        out(s, 'b', 0x3f5, transfers[rnd(G_N_ELEMENTS(transfers))]);
        for (unsigned i = 0; i < 8; i++) {
            out(s, 'b', 0x3f5, rnd(50) ? parameters[i] : rnd(256));
        }
    } else {
        out(s, 'b', 0x3f5, commands[rnd(G_N_ELEMENTS(commands))]);
        for (unsigned i = rnd(10); i; i--) {
            out(s, 'b', 0x3f5, rnd(4) ? rnd(20) : rnd(256));
        }
    }
    for (unsigned i = rnd(rnd(8) ? 10 : 600); i; i--) {
        g_string_append(s, "inb 0x3f5\n");
    }
}

/* Commands to the keyboard and, through the controller, to the mouse. */
static void step_ps2(GString *s)
{
    static const uint8_t codes[] = {0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed,
                                    0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7,
                                    0xf8, 0xfa, 0xfb, 0xfc, 0xfe, 0xff};

    out(s, 'b', 0x64, rnd(2) ? 0x60 : 0xd0 + rnd(5));
    out(s, 'b', 0x60, rnd(2) ? 0x47 : rnd(256));
    for (unsigned i = rnd(6); i; i--) {
        if (rnd(2)) {
            out(s, 'b', 0x64, 0xd4);
        }
        out(s, 'b', 0x60, rnd(3) ? codes[rnd(G_N_ELEMENTS(codes))] : rnd(256));
    }
    for (unsigned i = rnd(6); i; i--) {
        g_string_append(s, "inb 0x60\n");
    }
}

/* A transaction of the SMBus host at the port the firmware gives it. */
static void step_smbus(GString *s)
{
    out(s, 'l', 0xcf8, 0x80000b90);
    out(s, 'l', 0xcfc, 0xb101);
    out(s, 'l', 0xcf8, 0x80000bd0);
    out(s, 'l', 0xcfc, 0x00090000);
    out(s, 'b', 0xb104, rnd(4) ? 0xa0 + rnd(16) : rnd(256));
    out(s, 'b', 0xb103, rnd(256));
    out(s, 'b', 0xb105, rnd(rnd(2) ? 34 : 256));
    for (unsigned i = rnd(4); i; i--) {
        out(s, 'b', 0xb107, rnd(256));
    }
    out(s, 'b', 0xb102, rnd(4) ? 0x40 | rnd(8) << 2 : rnd(256));
    g_string_append(s, "inb 0xb100\ninb 0xb105\ninb 0xb107\n");
}

/* Commands without DMA: SMART among them. */
static void step_ata(GString *s)
{
    unsigned task = rnd(4) ? 0x1f0 : 0x170;
    bool smart = rnd(2);

    out(s, 'b', task + 6, rnd(4) ? 0xe0 : rnd(256));
    out(s, 'b', task + 1, smart ? 0xd0 + rnd(16) : rnd(256));
    out(s, 'b', task + 2, rnd(4) ? rnd(3) : rnd(256));
    out(s, 'b', task + 3, rnd(16));
    out(s, 'b', task + 4, smart ? 0x4f : rnd(4));
    out(s, 'b', task + 5, smart ? 0xc2 : 0);
    out(s, 'b', task + 7, smart ? 0xb0 : rnd(256));
    for (unsigned i = rnd(rnd(8) ? 8 : 200); i; i--) {
        if (rnd(3)) {
            g_string_append_printf(s, "inl 0x%x\n", task);
        } else {
            out(s, 'l', task, any_value());
        }
    }
}

/* A ring of descriptors of all kinds in RAM, mostly, and one of two e1000 (slots 6 and 7) sent through it. */
static void step_e1000(GString *s)
{
    static const uint16_t often[] = {0x0, 0x20, 0xc0, 0xc4, 0xc8, 0xd0, 0xd8, 0x100, 0x400, 0x2800, 0x2808, 0x2810, 0x2818,
                                     0x3800, 0x3808, 0x3810, 0x3818, 0x5400, 0x5404, 0x10, 0x14};
    unsigned which = rnd(2), n = 1 + rnd(8), bar = 0xe0200000 + which * 0x20000, ring = 0x40000 + which * 0x1000;

    out(s, 'l', 0xcf8, 0x80000010 | (6 + which) << 11);
    out(s, 'l', 0xcfc, bar);
    out(s, 'l', 0xcf8, 0x80000004 | (6 + which) << 11);
    out(s, 'w', 0xcfc, rnd(16) ? 7 : rnd(8));
    for (unsigned i = 0; i < n; i++) {
        uint64_t at = ring + 16 * i;

        g_string_append_printf(s, "writeq 0x%" PRIx64 " 0x%" PRIx64 "\n", at, rnd(4) ? any_address() : any_value());
        g_string_append_printf(s, "writel 0x%" PRIx64 " 0x%x\n", at + 8,
                               (rnd(4) ? rnd(2000) : rnd(0x100000)) | rnd(4) << 20 | rnd(256) << 24);
        g_string_append_printf(s, "writel 0x%" PRIx64 " 0x%x\n", at + 12, rnd(2) ? rnd(256) << 8 | rnd(2000) << 16
                                                                                  : (uint32_t)any_value());
    }
    for (unsigned i = rnd(6); i; i--) {
        g_string_append_printf(s, "writel 0x%x 0x%x\n", bar + often[rnd(G_N_ELEMENTS(often))], (uint32_t)any_value());
    }
    unsigned low = rnd(2) ? 0x3800 : 0x2800; /* send, or receive what the other one sends */
    g_string_append_printf(s, "writel 0x%x 0x%" PRIx64 "\n", bar + low, rnd(8) ? ring : any_address());
    g_string_append_printf(s, "writel 0x%x 0\n", bar + low + 4);
    g_string_append_printf(s, "writel 0x%x 0x%x\n", bar + low + 8, rnd(8) ? 128u << rnd(3) : (uint32_t)any_value());
    g_string_append_printf(s, "writel 0x%x 0x%x\n", bar + low + 0x10, rnd(8) ? 0 : rnd(0x10000));
    g_string_append_printf(s, "writel 0x%x 0x%x\n", bar + 0x100, rnd(4) ? 0x801au | rnd(4) << 16 : (uint32_t)any_value());
    g_string_append_printf(s, "writel 0x%x 0x%x\n", bar + 0x400, rnd(8) ? 2u : (uint32_t)any_value());
    g_string_append_printf(s, "writel 0x%x 0x%x\n", bar + low + 0x18, rnd(8) ? n : rnd(0x10000));
}

/* An rtl8139 in slot 5: its registers, in either mode, with addresses that are good more often than not. */
static void step_rtl8139(GString *s)
{
    static const uint8_t often[] = {0x10, 0x14, 0x20, 0x24, 0x30, 0x37, 0x38, 0x3c, 0x3e, 0x40, 0x44, 0x50, 0x54, 0xd9, 0xe0, 0xe4};

    out(s, 'l', 0xcf8, 0x80000014 | 5 << 11);
    out(s, 'l', 0xcfc, 0xe0300000);
    out(s, 'l', 0xcf8, 0x80000004 | 5 << 11);
    out(s, 'w', 0xcfc, 7);
    for (unsigned i = 0; i < 4; i++) {
        g_string_append_printf(s, "writel 0x%x 0x%x\n", 0x48000 + 16 * i, (uint32_t)any_value() | 0x80000000u);
        g_string_append_printf(s, "writeq 0x%x 0x%" PRIx64 "\n", 0x48008 + 16 * i, any_address());
    }
    g_string_append_printf(s, "writeb 0xe0300037 0x%x\n", rnd(8) ? 0x0c : rnd(256));
    for (unsigned i = rnd(12); i; i--) {
        unsigned reg = often[rnd(G_N_ELEMENTS(often))];
        char size = reg == 0x37 || reg == 0x50 || reg == 0xd9 ? 'b' : reg == 0x38 || reg == 0x3c || reg == 0x3e ? 'w' : 'l';

        g_string_append_printf(s, "write%c 0x%x 0x%x\n", size, 0xe0300000 + reg, rnd(3) ? (uint32_t)any_value() : 0x48000u);
    }
    g_string_append_printf(s, "writew 0xe03000e0 0x%x\n", rnd(2) ? 3 : rnd(256));
    g_string_append(s, "writel 0xe0300020 0x48000\nwritel 0xe03000e4 0x48000\nwriteb 0xe03000d9 0x40\n");
}

/* ---- virtio devices in slots 4 to 7, modern or legacy, whatever they are ---- */

#define VIRTIO_BAR(slot) (0xe0400000u + (slot) * 0x10000u)
#define VIRTIO_PORTS(slot) (0xc000u + (slot) * 0x40u)
#define VIRTIO_RING(slot) (0x100000u + (slot) * 0x8000u)   /* descriptors, available (+4000h), used (+6000h) */
#define VIRTIO_HEADERS 0x180000u                           /* of requests for disks */

static void virtio_map(GString *s, unsigned slot)
{
    const uint32_t config = 0x80000000u | slot << 11;

    out(s, 'l', 0xcf8, config | 0x10);
    out(s, 'l', 0xcfc, VIRTIO_PORTS(slot));
    out(s, 'l', 0xcf8, config | 0x14);
    out(s, 'l', 0xcfc, VIRTIO_BAR(slot) + 0x8000);
    out(s, 'l', 0xcf8, config | 0x20);
    out(s, 'l', 0xcfc, VIRTIO_BAR(slot));
    out(s, 'l', 0xcf8, config | 0x24);
    out(s, 'l', 0xcfc, 0);
    out(s, 'l', 0xcf8, config | 4);
    out(s, 'w', 0xcfc, rnd(8) ? 7 : rnd(8));
}

static void virtio_common(GString *s, unsigned slot, char size, unsigned offset, uint32_t value)
{
    g_string_append_printf(s, "write%c 0x%x 0x%x\n", size, VIRTIO_BAR(slot) + offset, value);
}

/* One queue where its ring is, mostly; its size as the driver likes. */
static void virtio_queue(GString *s, unsigned slot, unsigned queue)
{
    const uint32_t ring = VIRTIO_RING(slot);
    const uint32_t areas[3] = {ring, ring + 0x4000, ring + 0x6000};

    virtio_common(s, slot, 'w', 22, queue);
    virtio_common(s, slot, 'w', 24, rnd(4) ? 256 : rnd(4) ? 1u << rnd(8) : rnd(2048));
    virtio_common(s, slot, 'w', 26, rnd(2) ? rnd(4) : rnd(0x10000));
    for (unsigned i = 0; i < 3; i++) {
        virtio_common(s, slot, 'l', 32 + 8 * i, rnd(16) ? areas[i] : rnd(2) ? RAM_SIZE - rnd(4096) : (uint32_t)any_address());
        virtio_common(s, slot, 'l', 36 + 8 * i, rnd(32) ? 0 : (uint32_t)any_value());
    }
    virtio_common(s, slot, 'w', 28, 1);
}

static void virtio_setup(GString *s, unsigned slot)
{
    if (rnd(3)) {
        virtio_common(s, slot, 'b', 20, 0);
    }
    virtio_common(s, slot, 'b', 20, 3);
    virtio_common(s, slot, 'l', 8, 0);
    virtio_common(s, slot, 'l', 12, rnd(4) ? rnd(8) << 28 | rnd(0x8000) : (uint32_t)any_value());
    virtio_common(s, slot, 'l', 8, 1);
    virtio_common(s, slot, 'l', 12, rnd(16) ? 1 | rnd(4) << 2 | rnd(2) << 8 : (uint32_t)any_value());
    if (rnd(4)) {
        virtio_common(s, slot, 'b', 20, 0xb);
    }
    for (unsigned i = 1 + rnd(3); i--;) {
        virtio_queue(s, slot, i);
    }
    virtio_common(s, slot, 'b', 20, 0xf);
}

static void store_words(GString *s, uint32_t at, const uint32_t *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(s, "writel 0x%x 0x%x\n", at + 4 * i, words[i]);
    }
}

/* What a request of some kind of device begins with; its length. */
static uint32_t virtio_header(GString *s, uint32_t at)
{
    static const uint8_t types[] = {0, 1, 4, 8, 11, 13, 2, 99}, length[] = {16, 51, 2, 12, 32, 8},
                         opcodes[] = {0x00, 0x03, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42, 0x55, 0x5a, 0x5e, 0x5f, 0x88,
                                      0x8a, 0x93, 0x9e, 0xa0, 0xa3};
    const unsigned kind = rnd(G_N_ELEMENTS(length));
    uint32_t w[13];

    for (unsigned i = 0; i < G_N_ELEMENTS(w); i++) {
        w[i] = rnd(4) ? rnd(64) : (uint32_t)any_value();
    }
    switch (kind) {
    case 0: /* disk: type, 0, sector */
        w[0] = types[rnd(G_N_ELEMENTS(types))];
        w[3] = rnd(16) ? 0 : w[3];
        break;
    case 1: /* SCSI: LUN, tag, attributes, CDB from byte 19 on */
        w[0] = 1 | rnd(3) << 8 | (rnd(4) ? 0x40u : rnd(256)) << 16 | rnd(2) << 24;
        w[4] = (w[4] & 0xffffff) | (uint32_t)opcodes[rnd(G_N_ELEMENTS(opcodes))] << 24;
        break;
    case 2: /* network, control: class, command; its data follow */
        w[0] = rnd(7) | rnd(6) << 8 | rnd(0x10000) << 16;
        break;
    case 3: /* network, a packet: flags, GSO, lengths, checksum */
        w[0] = rnd(4) | (rnd(2) ? rnd(6) : rnd(256)) << 8 | rnd(200) << 16;
        w[1] = rnd(2000) | rnd(200) << 16;
        break;
    case 4: /* balloon: pages */
        for (unsigned i = 0; i < 8; i++) {
            w[i] = rnd(16) ? rnd(RAM_SIZE >> 12) : w[i];
        }
        break;
    default: /* serial, control: port, event, value */
        w[0] = rnd(16) ? rnd(4) : w[0];
        w[1] = rnd(10) | rnd(3) << 16;
    }
    store_words(s, at, w, G_N_ELEMENTS(w));
    return length[kind] + (kind == 2 || kind == 3 ? rnd(100) : 0);
}

/* Descriptors in a row, as good for a split ring as for a packed one; the first of many is a request's header. */
static void virtio_fill(GString *s, unsigned slot)
{
    const uint32_t ring = VIRTIO_RING(slot), wrap = rnd(2) ? 0x80 : 0x8000, first = rnd(3) ? 0 : rnd(128), n = 1 + rnd(8);

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t at = ring + 16 * (first + i), header = VIRTIO_HEADERS + 64 * rnd(8), length = virtio_header(s, header);
        const uint32_t flags = (i + 1 < n && rnd(4) ? 1 : 0) | (i + 1 == n || (i && rnd(2)) ? 2 : 0) | (rnd(32) ? 0 : 4);
        const uint32_t next = rnd(32) ? first + i + 1 : rnd(300);
        const bool packed = rnd(2);

        g_string_append_printf(s, "writeq 0x%x 0x%" PRIx64 "\n", at,
                               !i && rnd(4) ? header : rnd(16) ? 0x190000 + rnd(0x10000) : any_address());
        g_string_append_printf(s, "writel 0x%x 0x%x\n", at + 8, !i && rnd(8) ? length : rnd(4) ? 512 * rnd(9) : rnd(0x20000));
        g_string_append_printf(s, "writel 0x%x 0x%x\n", at + 12,
                               packed ? next | (flags | wrap) << 16 : (flags & 7) | next << 16);
    }
    for (unsigned i = 0; i < 8; i++) {
        g_string_append_printf(s, "writew 0x%x 0x%x\n", ring + 0x4004 + 2 * i, rnd(32) ? first : rnd(300));
    }
    g_string_append_printf(s, "writew 0x%x 0x%x\n", ring + 0x4002, rnd(16) ? rnd(9) : rnd(0x10000));
}

static void virtio_legacy(GString *s, unsigned slot)
{
    const unsigned base = VIRTIO_PORTS(slot);

    if (rnd(3) == 0) {
        out(s, 'b', base + 18, 0);
    }
    out(s, 'b', base + 18, rnd(4) ? 3 : rnd(256));
    out(s, 'l', base + 4, (uint32_t)any_value());
    out(s, 'w', base + 14, rnd(3));
    out(s, 'l', base + 8, rnd(8) ? VIRTIO_RING(slot) >> 12 : (uint32_t)any_value());
    out(s, 'b', base + 18, rnd(8) ? 7 : rnd(256));
    out(s, 'w', base + 16, rnd(3));
    g_string_append_printf(s, "inb 0x%x\n", base + 19);
}

static void step_virtio(GString *s)
{
    static const uint8_t registers[] = {8, 12, 16, 20, 22, 24, 26, 28, 32, 40, 48, 58};
    const unsigned slot = 4 + rnd(4);

    virtio_map(s, slot);
    if (rnd(2)) {
        virtio_setup(s, slot);
    } else if (rnd(4) == 0) {
        virtio_legacy(s, slot);
    }
    virtio_fill(s, slot);
    virtio_common(s, slot, 'w', 0x3000 + 4 * rnd(4), 0);
    for (unsigned i = rnd(4); i--;) {
        virtio_common(s, slot, sizes[rnd(3)], registers[rnd(G_N_ELEMENTS(registers))], rnd(2) ? rnd(16) : (uint32_t)any_value());
    }
    if (rnd(4) == 0) {
        virtio_queue(s, slot, rnd(3));
        virtio_common(s, slot, 'b', 20, 0xf);
    }
    virtio_common(s, slot, 'w', 0x3000 + 4 * rnd(4), 0);
    g_string_append_printf(s, "readb 0x%x\nreadl 0x%x\n", VIRTIO_BAR(slot) + 0x1000, VIRTIO_BAR(slot) + 0x2000 + 4 * rnd(16));
}

static void step_clock(GString *s)
{
    g_string_append_printf(s, "clock_step %u\n", rnd(4) ? rnd(100000) : rnd(20000000));
}

/* Ends what the steps before may have stuck: a reset, or the firmware's state of the chipset. */
static void step_reset(GString *s)
{
    if (rnd(2)) {
        out(s, 'b', 0xcf9, 0x06);
    } else {
        out(s, 'b', 0x64, 0xfe);
    }
}

typedef void Step(GString *s);

static const struct {
    Step *step;
    unsigned weight;
} steps[] = {
    {step_port, 400},   {step_memory, 150}, {step_block, 20},      {step_pci, 60},
    {step_ide_dma, 25}, {step_atapi, 25},   {step_fw_cfg_dma, 30}, {step_floppy, 25},
    {step_clock, 25},   {step_reset, 1},    {step_ps2, 20},        {step_smbus, 15},
    {step_ata, 20},     {step_map, 10},     {step_e1000, 15},
    {step_rtl8139, 10}, {step_virtio, 5},
};

static Step *favourite;     /* every second step; NULL: none is */

static void run_steps(QTest *qt, unsigned count)
{
    unsigned total = 0;
    g_autoptr(GString) lines = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        total += steps[i].weight;
    }
    for (unsigned done = 0; done < count; done += BATCH) {
        g_string_truncate(lines, 0);
        for (unsigned i = 0; i < BATCH; i++) {
            unsigned at = rnd(total), k = 0;

            for (; at >= steps[k].weight; k++) {
                at -= steps[k].weight;
            }
            (favourite && rnd(2) ? favourite : steps[k].step)(lines);
        }
        qtest_batch(qt, lines->str);
    }
}

static QTest *start(const char *devices)
{
    static char *disk, *cdrom, *floppy;

    if (!disk) {
        disk = qtest_temp_file(NULL, DISK_SIZE);
        cdrom = qtest_temp_file(NULL, DISK_SIZE);
        floppy = qtest_temp_file(NULL, 1474560);
    }
    /* A guest that powers off is left standing, so that the rest of the steps meet that too. */
    return qtest_start(
        "-machine pc -m 32 -nodefaults -no-shutdown -action panic=none -rtc clock=vm "
        "-drive file=%s,format=raw,if=ide,index=0 "
        "-drive file=%s,format=raw,if=ide,index=2,media=cdrom "
        "-drive file=%s,format=raw,if=floppy -serial null -serial null -parallel null %s",
        disk, cdrom, floppy, devices);
}

static unsigned number_of_steps(void)
{
    const char *env = getenv("FUZZ_STEPS");

    return env ? (unsigned)strtoul(env, NULL, 0) : DEFAULT_STEPS;
}

static void fuzz(const char *devices)
{
    QTest *qt = start(devices);

    run_steps(qt, number_of_steps());
    qtest_end(qt);
}

static void save(QTest *qt, const char *path)
{
    g_autofree char *reply = qtest_request(qt, "state_save %s", path);

    g_assert_true(g_str_has_prefix(reply, "OK"));
}

/* Whatever a guest can do to a machine, the state of it is one that a fresh machine takes and
 * goes on with. */
static void test_state(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 0);

    for (unsigned round = 0; round < 10; round++) {
        QTest *qt = start("");
        g_autofree char *reply = NULL;

        run_steps(qt, number_of_steps() / 40);
        save(qt, path);
        qtest_end(qt);
        qt = start("");
        reply = qtest_request(qt, "state_load %s", path);
        if (strcmp(reply, "OK")) {
            g_error("a state that was saved is refused: %s", reply);
        }
        run_steps(qt, number_of_steps() / 40);
        qtest_end(qt);
    }
}

/* A hostile stream: taken or refused, and the machine lives on after a reset. */
static void test_hostile_state(void)
{
    g_autofree char *path = qtest_temp_file(NULL, 0), *bytes = NULL;
    gsize len;
    QTest *qt = start("");

    run_steps(qt, number_of_steps() / 40);
    save(qt, path);
    g_assert_true(g_file_get_contents(path, &bytes, &len, NULL));
    for (unsigned round = 0; round < number_of_steps() / 200; round++) {
        g_autofree char *copy = g_memdup2(bytes, len), *reply = NULL;
        gsize cut = rnd(16) ? len : rnd(len);

        for (unsigned i = 1 + rnd(4); i; i--) {
            copy[rnd(len)] = rnd(2) ? rnd(256) : rnd(2) ? 0 : 0xff;
        }
        g_assert_true(g_file_set_contents(path, copy, cut, NULL));
        reply = qtest_request(qt, "state_load %s", path);
        g_assert_true(g_str_has_prefix(reply, "OK") || g_str_has_prefix(reply, "FAIL"));
        run_steps(qt, BATCH);
        if (rnd(4) == 0) {
            qtest_outb(qt, 0xcf9, 0x06);
        }
    }
    qtest_end(qt);
}

static void test_all(void)
{
    fuzz("-device pvpanic -device pci-testdev -device pc-testdev "
         "-chardev null,id=null0 -device isa-debugcon,chardev=null0");
}

/* A guest may power its slots off, so states are not taken back and forth here: nothing is behind it. */
static void test_bridge(void) { fuzz("-device pci-bridge,chassis_nr=1,addr=6 -device pci-testdev"); }

static void test_cards(void)
{
    fuzz("-netdev hubport,id=a,hubid=0 -netdev hubport,id=b,hubid=0 -device e1000,netdev=a,addr=6,id=c "
         "-device e1000,netdev=b,addr=7 -netdev hubport,id=d,hubid=0 -device rtl8139,netdev=d,addr=5");
}

static void test_virtio(void)
{
    favourite = step_virtio;
    fuzz("-blockdev null-co,node-name=n0,size=1048576,read-zeroes=on -blockdev null-co,node-name=n1,size=32768,read-zeroes=on "
         "-device virtio-blk-pci,drive=n0,addr=4,packed=on,in_order=on,num-queues=3,queue-size=64 "
         "-device virtio-blk-pci,drive=n1,addr=5,packed=on -device virtio-rng-pci,addr=6,packed=on "
         "-device virtio-rng-pci,addr=7,disable-modern=on,max-bytes=4096,period=1");
    favourite = NULL;
}

static void test_virtio_net(void)
{
    favourite = step_virtio;
    fuzz("-netdev hubport,id=a,hubid=0 -netdev hubport,id=b,hubid=0 -netdev hubport,id=c,hubid=0 "
         "-device virtio-net-pci,netdev=a,addr=4,packed=on,rss=on,guest_announce=on -device virtio-net-pci,netdev=b,addr=5,mq=on "
         "-device virtio-net-pci,netdev=c,addr=6,disable-modern=on -device virtio-balloon-pci,addr=7,packed=on,"
         "free-page-reporting=on,deflate-on-oom=on");
    favourite = NULL;
}

static void test_virtio_scsi(void)
{
    favourite = step_virtio;
    fuzz("-device virtio-scsi-pci,addr=4,id=s,packed=on -device virtio-scsi-pci,addr=5,id=t "
         "-blockdev null-co,node-name=n0,size=1048576,read-zeroes=on -device scsi-hd,drive=n0,bus=s.0,scsi-id=0 "
         "-blockdev null-co,node-name=n1,size=65536,read-zeroes=on,read-only=on -device scsi-cd,drive=n1,bus=s.0,scsi-id=1 "
         "-blockdev null-co,node-name=n2,size=1048576,read-zeroes=on -device scsi-hd,drive=n2,bus=t.0,scsi-id=0 "
         "-device virtio-serial-pci,addr=6,id=v,packed=on -chardev ringbuf,id=c0 -device virtconsole,bus=v.0,chardev=c0 "
         "-chardev null,id=c1 -device virtserialport,bus=v.0,chardev=c1,name=x -device virtio-serial-pci,addr=7,max_ports=3");
    favourite = NULL;
}

static void test_smp(void) { fuzz("-smp 4"); }

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fuzz/all", test_all);
    g_test_add_func("/fuzz/smp", test_smp);
    g_test_add_func("/fuzz/bridge", test_bridge);
    g_test_add_func("/fuzz/cards", test_cards);
    g_test_add_func("/fuzz/virtio", test_virtio);
    g_test_add_func("/fuzz/virtio-net", test_virtio_net);
    g_test_add_func("/fuzz/virtio-scsi", test_virtio_scsi);
    g_test_add_func("/fuzz/state", test_state);
    g_test_add_func("/fuzz/hostile-state", test_hostile_state);
    return g_test_run();
}
