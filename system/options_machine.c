/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options that describe the board: -machine, -accel, -cpu, -smp, -m, -boot, -rtc, -kernel, ... */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "accel/accel.h"
#include "hw/i386/numa.h"
#include "hw/i386/smbios.h"
#include "system/config.h"
#include "system/help.h"
#include "util/error.h"

static bool is_help(const char *arg) { return !strcmp(arg, "help") || !strcmp(arg, "?"); }

static void add_accel(Config *c, const char *name, KeyVals *options)
{
    AccelArg accel = {g_strdup(name), options};

    g_array_append_val(c->accels, accel);
}

/* ---- -machine and -accel --------------------------------------------------------------- */

static bool set_machine(Config *c, const char *option, const char *arg, GError **err)
{
    if (is_help(arg)) {
        machine_help();
        c->helped = true;
        return true;
    }
    KeyVals *kv = keyvals_parse(option, arg, "type", err);
    if (!kv) {
        return false;
    }
    const char *last = strrchr(arg, ',');
    if (last && is_help(last + 1)) {
        keyvals_free(kv);
        return c->helped = machine_type_help(option, arg, err);
    }
    static const char *const irqchips[] = {"on", "split", "off", NULL};
    const char *type = keyvals_get(kv, "type"), *accel = keyvals_get(kv, "accel");
    int irqchip;

    if (!keyvals_enum(kv, "kernel-irqchip", irqchips, &irqchip, err)) {
        keyvals_free(kv);
        return false;
    }
    c->machine_name = type ? type : c->machine_name;
    c->machine_option = option;
    if (accel) {
        g_auto(GStrv) names = g_strsplit(accel, ":", -1);

        for (char **name = names; *name; name++) {
            add_accel(c, *name, NULL);
        }
    }
    if (c->machine_options) { /* -machine given twice: QEMU merges them */
        keyvals_merge(c->machine_options, kv);
    } else {
        c->machine_options = kv;
    }
    return true;
}

static bool set_accel(Config *c, const char *option, const char *arg, GError **err)
{
    if (is_help(arg)) {
        accel_help();
        c->helped = true;
        return true;
    }
    KeyVals *kv = keyvals_parse(option, arg, "accel", err);
    if (!kv) {
        return false;
    }
    const char *name = keyvals_get(kv, "accel");
    if (!name || !*name) {
        keyvals_free(kv);
        return error_set(err, "-accel %s: the accelerator's name is missing: -accel kvm", arg);
    }
    if (!accel_name_check(name, err)) {
        keyvals_free(kv);
        return false;
    }
    add_accel(c, name, kv);
    return true;
}

static bool set_enable_kvm(Config *c, const char *option, const char *arg, GError **err)
{
    add_accel(c, "kvm", NULL);
    return true;
}

/* ---- CPUs and memory -------------------------------------------------------------------- */

static bool set_cpu(Config *c, const char *option, const char *arg, GError **err)
{
    if (is_help(arg)) {
        cpu_model_help();
        c->helped = true;
    }
    c->machine.cpu_model = arg;
    return true;
}

/* Fills what was not given, preferring cores over sockets, threads last (as QEMU since 6.2). */
static bool complete_smp(SmpConfig *s, const char *arg, GError **err)
{
    uint64_t dies = s->dies ? s->dies : 1;

    if (!s->cpus && !s->max_cpus) {
        s->sockets = s->sockets ? s->sockets : 1;
        s->cores = s->cores ? s->cores : 1;
        s->threads = s->threads ? s->threads : 1;
    } else {
        unsigned max = s->max_cpus ? s->max_cpus : s->cpus;

        if (!s->cores) {
            s->sockets = s->sockets ? s->sockets : 1;
            s->threads = s->threads ? s->threads : 1;
            s->cores = (unsigned)(max / (s->sockets * dies * s->threads));
        } else if (!s->sockets) {
            s->threads = s->threads ? s->threads : 1;
            s->sockets = (unsigned)(max / (dies * s->cores * s->threads));
        }
        if (!s->threads) {
            s->threads = (unsigned)(max / (s->sockets * dies * s->cores));
        }
    }
    s->dies = (unsigned)dies;
    uint64_t product = dies * s->sockets * s->cores * s->threads;
    s->max_cpus = s->max_cpus ? s->max_cpus : s->cpus ? s->cpus : (unsigned)MIN(product, UINT32_MAX);
    s->cpus = s->cpus ? s->cpus : s->max_cpus;
    if (product != s->max_cpus) {
        return error_set(err,
                         "-smp %s: sockets (%u) * dies (%u) * cores (%u) * threads (%u) must be equal to maxcpus (%u); "
                         "leave out what does not matter to you",
                         arg, s->sockets, s->dies, s->cores, s->threads, s->max_cpus);
    }
    if (s->cpus > s->max_cpus) {
        return error_set(err, "-smp %s: maxcpus (%u) must not be less than cpus (%u); "
                              "raise it or leave it out", arg, s->max_cpus, s->cpus);
    }
    return true;
}

static bool set_smp(Config *c, const char *option, const char *arg, GError **err)
{
    static const char *const keys[] = {"cpus", "maxcpus", "sockets", "dies", "cores", "threads"};
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, "cpus", err);
    uint64_t v[G_N_ELEMENTS(keys)] = {0}, clusters = 1;

    if (!kv) {
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!keyvals_uint(kv, keys[i], 1, 65535, &v[i], err)) {
            return false;
        }
    }
    if (!keyvals_uint(kv, "clusters", 1, 65535, &clusters, err) || !keyvals_finish(kv, err)) {
        return false;
    }
    if (clusters > 1) {
        return error_set(err, "-smp %s: clusters are not supported by this machine; leave them out", arg);
    }
    c->machine.smp = (SmpConfig){(unsigned)v[0], (unsigned)v[1], (unsigned)v[2],
                                 (unsigned)v[3], (unsigned)v[4], (unsigned)v[5]};
    return complete_smp(&c->machine.smp, arg, err);
}

static bool set_memory(Config *c, const char *option, const char *arg, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, "size", err);
    uint64_t size = 128 * MIB;

    if (!kv || !keyvals_size(kv, "size", MIB, &size, err)) {
        return false;
    }
    MachineConfig *m = &c->machine;
    uint64_t slots = 0, max = 0;

    if (!keyvals_uint(kv, "slots", 0, UINT32_MAX, &slots, err) || !keyvals_size(kv, "maxmem", 1, &max, err)) {
        return false;
    }
    m->has_ram_size = m->has_ram_size || keyvals_has(kv, "size");
    m->has_slots = m->has_slots || keyvals_has(kv, "slots");
    m->has_max_ram = m->has_max_ram || keyvals_has(kv, "maxmem");
    m->ram_slots = keyvals_has(kv, "slots") ? (unsigned)slots : m->ram_slots;
    m->max_ram_size = keyvals_has(kv, "maxmem") ? max : m->max_ram_size;
    if (!keyvals_has(kv, "size")) {
        return keyvals_finish(kv, err);
    }
    if (!keyvals_finish(kv, err)) {
        return false;
    }
    size = align_up(size, 8192);
    if (size < MIB) {
        return error_set(err, "-m %s: a PC needs at least 1 MiB of memory; a plain number is in MiB", arg);
    }
    uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (size > UINT64_C(1) << 44 || size > host * 64) {
        return error_set(err, "-m %s: cannot set up guest memory of %" G_GUINT64_FORMAT " MiB: the host has %" G_GUINT64_FORMAT
                              " MiB; give the guest less", arg, size / MIB, host / MIB);
    }
    m->ram_size = size;
    return true;
}

static bool set_numa(Config *c, const char *option, const char *arg, GError **err)
{
    return numa_add_option(&c->machine.numa, arg, err);
}

static bool set_mem_prealloc(Config *c, const char *option, const char *arg, GError **err)
{
    return c->machine.mem_prealloc = true;
}

/* ---- -boot and -rtc ----------------------------------------------------------------------- */

static bool check_order(const char *arg, const char *order, char out[8], GError **err)
{
    uint32_t seen = 0;

    if (strlen(order) > 7) {
        return error_set(err, "-boot %s: boot order '%s' is too long; "
                              "name each of a, c, d and n at most once", arg, order);
    }
    for (const char *d = order; *d; d++) {
        if (*d < 'a' || *d > 'p') {
            return error_set(err, "-boot %s: '%c' is no boot device: a (floppy), c (disk), d (CD-ROM), n (network)", arg,
                             *d);
        }
        if (seen & 1u << (*d - 'a')) {
            return error_set(err, "-boot %s: boot device '%c' was given twice; name each at most once", arg, *d);
        }
        seen |= 1u << (*d - 'a');
    }
    g_strlcpy(out, order, 8);
    return true;
}

static bool set_boot(Config *c, const char *option, const char *arg, GError **err)
{
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, "order", err);
    BootConfig *b = &c->machine.boot;
    uint64_t splash_time = UINT64_MAX, timeout = UINT64_MAX;

    if (!kv) {
        return false;
    }
    const char *order = keyvals_get(kv, "order"), *once = keyvals_get(kv, "once"), *splash = keyvals_get(kv, "splash");
    const char *forever = keyvals_get(kv, "reboot-timeout");
    b->has_menu = keyvals_has(kv, "menu") || b->has_menu;
    if ((order && !check_order(arg, order, b->order, err)) || (once && !check_order(arg, once, b->once, err)) ||
        !keyvals_bool(kv, "menu", &b->menu, err) || !keyvals_bool(kv, "strict", &b->strict, err) ||
        !keyvals_uint(kv, "splash-time", 0, 0xffff, &splash_time, err) ||
        (g_strcmp0(forever, "-1") && !keyvals_uint(kv, "reboot-timeout", 0, 0xffff, &timeout, err)) ||
        !keyvals_finish(kv, err)) {
        return false;
    }
    b->splash_time = splash_time == UINT64_MAX ? b->splash_time : (int32_t)splash_time;
    b->reboot_timeout = timeout == UINT64_MAX ? b->reboot_timeout : (int32_t)timeout;
    b->splash = splash ? g_strdup(splash) : b->splash;
    return true;
}

static bool parse_rtc_base(RtcConfig *rtc, const char *base, GError **err)
{
    struct tm tm = {0};

    if (!strcmp(base, "utc") || !strcmp(base, "localtime")) {
        rtc->localtime = base[0] == 'l';
        return true;
    }
    const char *end = strptime(base, "%Y-%m-%dT%H:%M:%S", &tm);
    end = end && !*end ? end : strptime(base, "%Y-%m-%d", &tm);
    if (!end || *end) {
        return error_set(err, "-rtc base=%s: the base is utc, localtime, 2026-01-31T13:00:00 or 2026-01-31", base);
    }
    rtc->base = timegm(&tm);
    return true;
}

static bool set_rtc(Config *c, const char *option, const char *arg, GError **err)
{
    static const char *const clocks[] = {"host", "rt", "vm", NULL}, *const fixes[] = {"none", "slew", NULL};
    g_autoptr(KeyVals) kv = keyvals_parse(option, arg, NULL, err);
    int clock = 0, fix = 0;

    if (!kv) {
        return false;
    }
    const char *base = keyvals_get(kv, "base");
    if ((base && !parse_rtc_base(&c->machine.rtc, base, err)) || !keyvals_enum(kv, "clock", clocks, &clock, err) ||
        !keyvals_enum(kv, "driftfix", fixes, &fix, err) || !keyvals_finish(kv, err)) {
        return false;
    }
    c->machine.rtc.clock = clock == 0 ? CLOCK_HOST : clock == 1 ? CLOCK_RT : CLOCK_VIRTUAL;
    c->machine.rtc.slew = fix == 1;
    return true;
}

/* ---- firmware, kernel, identity ---------------------------------------------------------------- */

#define DEFINE_STRING_OPTION(name, place)                                                          \
    static bool name(Config *c, const char *option, const char *arg, GError **err)                 \
    {                                                                                              \
        c->place = arg;                                                                            \
        return true;                                                                               \
    }
DEFINE_STRING_OPTION(set_mem_path, machine.mem_path)
DEFINE_STRING_OPTION(set_bios, machine.bios)
DEFINE_STRING_OPTION(set_kernel, machine.kernel)
DEFINE_STRING_OPTION(set_initrd, machine.initrd)
DEFINE_STRING_OPTION(set_append, machine.append)

static bool set_dtb(Config *c, const char *option, const char *arg, GError **err)
{
    return error_set(err, "-dtb %s: PCs have ACPI tables and no device tree; leave the option out", arg);
}

static bool set_smbios(Config *c, const char *option, const char *arg, GError **err)
{
    if (!c->machine.smbios) {
        c->machine.smbios = smbios_options_new();
    }
    return smbios_options_add(c->machine.smbios, arg, err);
}

static bool set_fw_cfg(Config *c, const char *option, const char *arg, GError **err)
{
    g_ptr_array_add(c->machine.fw_cfg_items, (void *)(uintptr_t)arg);
    return true;
}

static bool set_no_acpi(Config *c, const char *option, const char *arg, GError **err) { return c->no_acpi = true; }
static bool set_no_hpet(Config *c, const char *option, const char *arg, GError **err) { return c->no_hpet = true; }

static bool set_uuid(Config *c, const char *option, const char *arg, GError **err)
{
    unsigned n = 0;

    if (!g_uuid_string_is_valid(arg)) {
        return error_set(err, "-uuid %s: not a UUID; write 11a12737-df26-48b3-8f81-1fa39cb470a9", arg);
    }
    for (const char *d = arg; n < 16; d += 2) {
        d += *d == '-';
        c->uuid[n++] = (uint8_t)(g_ascii_xdigit_value(d[0]) << 4 | g_ascii_xdigit_value(d[1]));
    }
    c->has_uuid = true;
    return true;
}

const OptionDef machine_option_defs[] = {
    {"machine", "[type=]name[,prop=value...]", set_machine, "the board (-machine help lists them)",
     OPTION_KEYVAL, "type"},
    {"M", "name", set_machine, "same as -machine", OPTION_KEYVAL, "type"},
    {"accel", "[accel=]name[,prop=value...]", set_accel, "the accelerator: kvm, or qtest for device tests",
     OPTION_KEYVAL, "accel"},
    {"enable-kvm", NULL, set_enable_kvm, "same as -accel kvm"},
    {"cpu", "model[,feature...]", set_cpu, "the CPU model (-cpu help lists them)"},
    {"smp", "[cpus=]n[,maxcpus=n][,sockets=n][,dies=n][,cores=n][,threads=n]", set_smp, "number and topology of CPUs",
     OPTION_KEYVAL, "cpus"},
    {"m", "[size=]megs[,slots=n,maxmem=size]", set_memory,
     "guest memory, in MiB without a suffix (default 128); slots for modules, and memory with all of them",
     OPTION_KEYVAL, "size"},
    {"numa", "node|dist|cpu|hmat-lb|hmat-cache[,key=value...]", set_numa, "NUMA nodes: their memory, CPUs, distances and speeds",
     OPTION_KEYVAL, "type"},
    {"mem-path", "path", set_mem_path, "guest memory is in this file, or in a file in this directory"},
    {"mem-prealloc", NULL, set_mem_prealloc, "allocate all guest memory before the guest starts"},
    {"boot", "[order=drives][,once=drives][,menu=on|off][,strict=on|off][,splash=file][,splash-time=ms]"
             "[,reboot-timeout=ms]",
     set_boot, "boot order: a floppy, c disk, d CD-ROM, n network", OPTION_KEYVAL, "order"},
    {"rtc", "[base=utc|localtime|date][,clock=host|rt|vm][,driftfix=none|slew]", set_rtc, "the real-time clock",
     OPTION_KEYVAL},
    {"bios", "file", set_bios, "firmware image"},
    {"kernel", "file", set_kernel, "boot this bzImage, ELF (PVH) or Multiboot kernel"},
    {"initrd", "file", set_initrd, "initial RAM disk, or Multiboot modules"},
    {"append", "text", set_append, "kernel command line"},
    {"dtb", "file", set_dtb, "refused: PCs have no device tree"},
    {"smbios", "file=path|type=n[,key=value...]", set_smbios, "SMBIOS tables and their fields",
     OPTION_KEYVAL},
    {"fw_cfg", "[name=]name,file=path|string=text", set_fw_cfg, "adds a firmware configuration item",
     OPTION_KEYVAL, "name"},
    {"uuid", "uuid", set_uuid, "the machine's UUID"},
    {"no-acpi", NULL, set_no_acpi, "no ACPI tables"},
    {"no-hpet", NULL, set_no_hpet, "no HPET"},
    {}};
