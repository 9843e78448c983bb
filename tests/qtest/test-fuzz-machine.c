/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that programs everything with random values: all ports, all MMIO, PCI configuration with BARs
 * put anywhere, DMA aimed at RAM, ROM, holes and the devices' own registers. The machine must neither
 * crash nor hang; what it answers does not matter.
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
    {0xae00, 0x18, 2},    {0xaf00, 0x20, 1},    {0xafe0, 0x04, 1}, /* ACPI hot-plug */
    {0x0cf8, 0x08, 4},                                  /* PCI, reset control */
    {0xc000, 0x100, 4},                                 /* BARs, where we put them */
};

static const Range memory[] = {
    {0xfec00000, 0x20, 4},      {0xfec00000, 0x1000, 1}, /* I/O APIC */
    {0xfed00000, 0x160, 4},     {0xfed00000, 0x400, 1},  /* HPET */
    {0xfee00000, 0x400, 3},     {0xfee00000, 0x100000, 1}, /* local APIC, messages */
    {0xe0000000, 0x10000, 3},                            /* BARs, where we put them */
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

/* ---- steps: each adds some lines ---------------------------------------------------------------- */

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
        g_string_append_printf(s, "memset 0x%" PRIx64 " 0x%x 0x%x\n", any_address(), rnd(512), rnd(256));
    } else {
        g_string_append_printf(s, "read 0x%" PRIx64 " 0x%x\n", any_address(), 1 + rnd(512));
    }
}

static void step_pci(GString *s)
{
    static const uint8_t regs[] = {0x04, 0x04, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x20, 0x24, 0x30, 0x3c, 0x40, 0x59, 0x60, 0x72};
    unsigned slot = rnd(4) ? rnd(8) : rnd(32), function = rnd(4);
    unsigned reg = rnd(2) ? regs[rnd(G_N_ELEMENTS(regs))] : rnd(256);

    out(s, 'l', 0xcf8, 0x80000000u | slot << 11 | function << 8 | (reg & 0xfc));
    if (rnd(4)) {
        out(s, sizes[rnd(3)], 0xcfc + (reg & 3), rnd(3) ? any_value() : rnd(2) ? 7 : 0xc000 + rnd(0x100));
    } else {
        g_string_append_printf(s, "inl 0xcfc\n");
    }
}

/* A table of regions in RAM, and the bus master set to it: some of them are registers. */
static void step_ide_dma(GString *s)
{
    static const uint8_t commands[] = {0xc8, 0xca, 0x25, 0x35, 0xa0, 0x20, 0x30, 0xc4, 0xc5, 0xe7, 0xec, 0xa1, 0x08, 0x06};
    unsigned second = rnd(2), base = 0xc000 + 8 * second, task = second ? 0x170 : 0x1f0;
    uint32_t table = rnd(4) ? 0x10000 + 8 * rnd(64) : (uint32_t)any_address();
    unsigned n = 1 + rnd(4);

    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(s, "writel 0x%x 0x%" PRIx64 "\n", table + 8 * i, any_address() & 0xffffffff);
        g_string_append_printf(s, "writel 0x%x 0x%x\n", table + 8 * i + 4,
                               (i + 1 == n && rnd(8) ? 0x80000000u : 0) | (rnd(4) ? 512 * rnd(8) : rnd(65536)));
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
    static const uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xad, 0xbd, 0xbe};
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
    g_string_append_printf(s, "write 0x%" PRIx64 " %u 0x%0*" PRIx64 "\n", addr, size, 2 * (int)size, value);
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
    static const uint8_t commands[] = {0x46, 0xe6, 0x45, 0xc5, 0x4d, 0x07, 0x08, 0x0f, 0x4a, 0x03, 0x13, 0x0e, 0x10, 0x12,
                                       0x94, 0x8e, 0x04, 0x18, 0x33, 0xcd, 0x5c, 0x11, 0x19, 0x1d};

    out(s, 'b', 0x0a, 0x06);
    out(s, 'b', 0x0c, 0);
    out(s, 'b', 0x04, rnd(256));
    out(s, 'b', 0x04, rnd(256));
    out(s, 'b', 0x05, rnd(256));
    out(s, 'b', 0x05, rnd(8));
    out(s, 'b', 0x81, rnd(2) ? rnd(256) : 0x0a + rnd(6));
    out(s, 'b', 0x0b, rnd(4) ? (rnd(2) ? 0x46 : 0x4a) : rnd(256));
    out(s, 'b', 0x0a, 0x02);
    out(s, 'b', 0x3f2, rnd(8) ? 0x1c : rnd(256));
    out(s, 'b', 0x3f5, commands[rnd(G_N_ELEMENTS(commands))]);
    for (unsigned i = rnd(10); i; i--) {
        out(s, 'b', 0x3f5, rnd(4) ? rnd(20) : rnd(256));
    }
    for (unsigned i = rnd(10); i; i--) {
        g_string_append(s, "inb 0x3f5\n");
    }
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
    {step_port, 400}, {step_memory, 150},     {step_block, 20},   {step_pci, 60},   {step_ide_dma, 25},
    {step_atapi, 25}, {step_fw_cfg_dma, 30},  {step_floppy, 25},  {step_clock, 25}, {step_reset, 1},
};

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
            steps[k].step(lines);
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
    return qtest_start("-machine pc -m 32 -nodefaults -no-shutdown -action panic=none -rtc clock=vm "
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

/* Whatever a guest can do to a machine, the state of it is one that a fresh machine takes and goes on with. */
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

static void test_smp(void) { fuzz("-smp 4"); }

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fuzz/all", test_all);
    g_test_add_func("/fuzz/smp", test_smp);
    g_test_add_func("/fuzz/state", test_state);
    g_test_add_func("/fuzz/hostile-state", test_hostile_state);
    return g_test_run();
}
