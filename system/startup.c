/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of start-up: back ends (files and sockets can fail, and nothing costs less), the accelerator's
 * fd, the board and its devices in memory, and last everything into KVM at once (docs/architecture.md,
 * "Start-up and time").
 */
#include "system/startup.h"

#include <stdio.h>

#include "accel/accel.h"
#include "system/qtest_server.h"
#include "block/block.h"
#include "chardev/char.h"
#include "core/device_add.h"
#include "core/fdset.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "hw/i386/numa.h"
#include "util/log.h"

/* ---- accelerator ---------------------------------------------------------------------------- */

typedef struct OptionList {
    GPtrArray *words; /* key, value, ..., NULL */
} OptionList;

static bool collect_option(const char *key, const char *value, void *opaque, GError **err)
{
    OptionList *list = opaque;

    if (strcmp(key, "accel")) {
        g_ptr_array_add(list->words, (void *)(uintptr_t)key);
        g_ptr_array_add(list->words, (void *)(uintptr_t)value);
    }
    return true;
}

static bool try_accel(Vm *vm, Config *c, const AccelArg *arg, GError **err)
{
    OptionList list = {g_ptr_array_new()};
    /* -machine kernel-irqchip= is the old place of -accel's option. */
    const char *irqchip = c->machine_options ? keyvals_get(c->machine_options, "kernel-irqchip") : NULL;

    if (irqchip && !strcmp(arg->name, "kvm")) {
        g_ptr_array_add(list.words, (void *)(uintptr_t)"kernel-irqchip");
        g_ptr_array_add(list.words, (void *)(uintptr_t)irqchip);
    }
    if (arg->options) {
        keyvals_foreach(arg->options, collect_option, &list, NULL);
    }
    g_ptr_array_add(list.words, NULL);
    GError *reason = NULL;
    bool ok = accel_create(vm, arg->name, (const char *const *)list.words->pdata, &reason);
    g_ptr_array_free(list.words, true);
    if (!ok && g_str_has_prefix(reason->message, "-accel")) {
        g_propagate_error(err, reason);
    } else if (!ok) {
        g_propagate_prefixed_error(err, reason, "-accel %s: ", arg->name);
    }
    return ok;
}

/* The first that can be opened; each other one's reason is reported. */
static bool open_accel(Vm *vm, Config *c, GError **err)
{
    AccelArg kvm = {.name = (char *)(uintptr_t)"kvm"};
    unsigned n = c->accels->len;

    for (unsigned i = 0; i < MAX(n, 1); i++) {
        g_autoptr(GError) reason = NULL;

        if (try_accel(vm, c, n ? &g_array_index(c->accels, AccelArg, i) : &kvm, &reason)) {
            return true;
        }
        if (i + 1 >= n) {
            g_propagate_error(err, g_steal_pointer(&reason));
            return false;
        }
        report_warning("%s", reason->message);
    }
    return false;
}

/* ---- back ends --------------------------------------------------------------------------------- */

static bool add_drive(Vm *vm, const DriveArg *d, GError **err)
{
    DriveDefaults defaults = {
        .option = d->option,
        .interface = d->is_floppy ? "floppy" : NULL,
        .index = d->index,
        .is_cdrom = d->is_cdrom,
    };
    return d->is_plain_file ? blk_add_disk(vm, d->text, &defaults, NULL, err)
                            : blk_add_drive(vm, d->text, &defaults, NULL, err);
}

static bool open_images(Vm *vm, Config *c, GError **err)
{
    blk_set_snapshot(vm, c->snapshot);
    for (unsigned i = 0; i < c->blockdevs->len; i++) {
        if (!blk_add_blockdev(vm, c->blockdevs->pdata[i], err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < c->drives->len; i++) {
        if (!add_drive(vm, &g_array_index(c->drives, DriveArg, i), err)) {
            return false;
        }
    }
    /* An empty drive where the user put none: "ide1-cd0" and "floppy0". */
    static const DriveDefaults cdrom = {.interface = "ide", .index = 2, .is_cdrom = true};
    static const DriveDefaults floppy = {.interface = "floppy", .index = 0};
    return (!c->machine.default_cdrom || blk_drive_get(vm, "ide", 1, 0) ||
            blk_add_drive(vm, "", &cdrom, NULL, err)) &&
           (!c->machine.default_floppy || blk_drive_get(vm, "floppy", 0, 0) ||
            blk_add_drive(vm, "", &floppy, NULL, err));
}

/* -serial and -parallel: ids[n] is the chardev's id, or NULL for "none". */
static bool open_ports(Vm *vm, GPtrArray *args, const char *kind, char ***ids, unsigned *count, GError **err)
{
    *count = args->len;
    *ids = g_new0(char *, args->len + 1);
    for (unsigned i = 0; i < args->len; i++) {
        g_autofree char *id = g_strdup_printf("%s%u", kind, i);
        bool none = false;

        if (!chardev_add_legacy(vm, id, args->pdata[i], &none, err)) {
            g_prefix_error(err, "-%s %s: ", kind, (char *)args->pdata[i]);
            return false;
        }
        (*ids)[i] = none ? NULL : g_steal_pointer(&id);
    }
    return true;
}

static bool open_chardevs(Vm *vm, Config *c, GError **err)
{
    MachineConfig *m = &c->machine;

    if (c->escape_key) {
        chardev_set_escape(vm, c->escape_key);
    }
    if (c->daemonize) {
        chardev_refuse_stdio(vm, "cannot be used with -daemonize");
    }
    for (unsigned i = 0; i < c->chardevs->len; i++) {
        if (!chardev_add_option(vm, c->chardevs->pdata[i], err)) {
            g_prefix_error(err, "-chardev %s: ", (char *)c->chardevs->pdata[i]);
            return false;
        }
    }
    return open_ports(vm, c->serials, "serial", &m->serial_ids, &m->n_serials, err) &&
           open_ports(vm, c->parallels, "parallel", &m->parallel_ids, &m->n_parallels, err);
}

static bool open_networks(Vm *vm, const Config *c, GError **err)
{
    for (unsigned i = 0; i < c->netdevs->len; i++) {
        if (!netdev_add_option(vm, c->netdevs->pdata[i], err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < c->nets->len; i++) {
        const MonitorArg *net = &g_array_index(c->nets, MonitorArg, i);

        if (!net_add_legacy(vm, net->option, net->text, err)) {
            return false;
        }
    }
    return true;
}

/* A machine without slots for cards made none of what -nic and -net asked for. */
static void check_nics_made(Vm *vm)
{
    for (const NicRequest *r; vm->net && (r = net_next_nic_request(vm));) {
        report_warning("%s: the card was not made: this machine has none", r->option);
    }
}

/* ---- monitors ------------------------------------------------------------------------------- */

static bool is_mon(const char *serial) { return g_str_has_prefix(serial, "mon:"); }

static bool add_monitor(Vm *vm, const MonitorArg *arg, unsigned n, GError **err)
{
    const char *option = arg->option + strspn(arg->option, "-");
    const char *text = is_mon(arg->text) ? arg->text + strlen("mon:") : arg->text;
    g_autofree char *id = g_strdup_printf("compat_monitor%u", n);
    bool none = false, ok;

    if (!strcmp(option, "mon")) {
        return monitor_add_option(vm, arg->text, err);
    }
    ok = chardev_add_legacy(vm, id, text, &none, err);
    if (ok && !none) {
        ok = !strcmp(option, "monitor") ? monitor_add_hmp(vm, id, err)
                                        : monitor_add_qmp(vm, id, !strcmp(option, "qmp-pretty"), err);
    }
    if (!ok) {
        g_prefix_error(err, "%s %s: ", arg->option, arg->text);
    }
    return ok;
}

/* -serial mon:...: the monitor shares the port's terminal. */
static bool add_shared_monitors(Vm *vm, const Config *c, GError **err)
{
    for (unsigned i = 0; i < c->serials->len; i++) {
        g_autofree char *id = g_strdup_printf("serial%u", i);

        if (is_mon(c->serials->pdata[i]) && !monitor_add_hmp(vm, id, err)) {
            g_prefix_error(err, "-serial %s: ", (char *)c->serials->pdata[i]);
            return false;
        }
    }
    return true;
}

static bool open_monitors(Vm *vm, const Config *c, GError **err)
{
    monitor_set_options_source(vm, options_describe);
    for (unsigned i = 0; i < c->monitors->len; i++) {
        if (!add_monitor(vm, &g_array_index(c->monitors, MonitorArg, i), i, err)) {
            return false;
        }
    }
    if (!add_shared_monitors(vm, c, err)) {
        return false;
    }
    if (!c->preconfig) {
        return true;
    }
    if (!c->monitors->len) {
        return error_set(err, "--preconfig: there is no monitor that could end the wait; add -qmp");
    }
    monitor_run_preconfig(vm);
    return !vm_end_requested(vm) || error_set(err, "--preconfig: the process was ended before the machine was made");
}

/* ---- defaults -------------------------------------------------------------------------------------- */

/* What the user's own devices and drives stand in for. */
static bool has_device(const Config *c, const char *const *drivers)
{
    for (unsigned i = 0; i < c->devices->len; i++) {
        g_autofree char *driver = device_driver_name(c->devices->pdata[i]);

        if (driver && g_strv_contains(drivers, driver)) {
            return true;
        }
    }
    /* A -global counts too, as with QEMU. */
    for (unsigned i = 0; i < c->globals->len; i++) {
        const char *text = c->globals->pdata[i];
        g_autofree char *driver = g_str_has_prefix(text, "driver=") ? g_strndup(text + 7, strcspn(text + 7, ","))
                                                                    : g_strndup(text, strcspn(text, "."));

        if (g_strv_contains(drivers, driver)) {
            return true;
        }
    }
    return false;
}

static bool uses_stdio(GPtrArray *serials)
{
    for (unsigned i = 0; i < serials->len; i++) {
        if (!strcmp(serials->pdata[i], "stdio") || is_mon(serials->pdata[i])) {
            return true;
        }
    }
    return false;
}

/* A card on a hub with a user network; the card alone where that cannot be had. */
static void add_default_network(Config *c)
{
    MonitorArg card = {"-net", "nic"}, user = {"-net", "user"};

    g_array_append_val(c->nets, card);
    if (type_load("netdev-user", NULL)) {
        g_array_append_val(c->nets, user);
    }
}

static void add_defaults(Config *c)
{
    static const char *const serials[] = {"isa-serial", NULL}, *const parallels[] = {"isa-parallel", NULL};
    static const char *const cdroms[] = {"ide-cd", "scsi-cd", "ide-hd", "scsi-hd", NULL};
    static const char *const floppies[] = {"isa-fdc", "floppy", NULL};

    if (c->no_defaults || !g_strcmp0(c->machine_name, "none")) {
        return;
    }
    if (!c->serials->len && !has_device(c, serials)) {
        const char *port = c->nographic ? (c->monitors->len ? "stdio" : "mon:stdio") : "null";

        g_ptr_array_add(c->serials, (void *)(uintptr_t)port);
    } else if (c->nographic && !c->monitors->len && !uses_stdio(c->serials)) {
        MonitorArg monitor = {"-monitor", "stdio"};

        g_array_append_val(c->monitors, monitor);
    }
    if (!c->parallels->len && !has_device(c, parallels)) {
        g_ptr_array_add(c->parallels, (void *)(uintptr_t)"null");
    }
    if (!c->nets->len && !c->netdevs->len) {
        add_default_network(c);
    }
    c->machine.default_cdrom = !has_device(c, cdroms);
    c->machine.default_floppy = !has_device(c, floppies);
}

/* ---- the machine --------------------------------------------------------------------------------------- */

typedef struct MachineOptions {
    Machine *machine;
    const char *option;     /* as it was written */
} MachineOptions;

static bool set_machine_property(const char *key, const char *value, void *opaque, GError **err)
{
    static const char *const handled[] = {"type", "accel", "kernel-irqchip", NULL};
    const MachineOptions *options = opaque;

    if (g_strv_contains(handled, key)) {
        return true;
    }
    if (!object_set(&options->machine->obj, key, value, err)) {
        g_prefix_error(err, "%s %s=%s: ", options->option, key, value);
        return false;
    }
    return true;
}

static bool check_cpu_count(Vm *vm, const Config *c, const Machine *machine, GError **err)
{
    const SmpConfig *smp = &c->machine.smp;
    unsigned limit = vm->accel->ops->max_cpus ? vm->accel->ops->max_cpus(vm->accel) : machine->ops->max_cpus;

    if (smp->max_cpus > machine->ops->max_cpus) {
        return error_set(err, "-smp: invalid SMP CPUs %u: machine '%s' supports at most %u", smp->max_cpus,
                         machine->ops->name, machine->ops->max_cpus);
    }
    if (smp->max_cpus > limit) {
        return error_set(err, "-smp: number of CPUs %u exceeds what this host's KVM can run; "
                              "give at most %u", smp->max_cpus, limit);
    }
    return true;
}

static Machine *make_machine(Vm *vm, Config *c, GError **err)
{
    const Type *type = machine_type_find(c->machine_name, err);
    Machine *machine = type ? machine_new(vm, type, err) : NULL;

    MachineOptions options = {machine, c->machine_option};

    if (!machine) {
        g_prefix_error(err, "%s %s: ", c->machine_option, c->machine_name);
        return NULL;
    }
    if (c->no_hpet && type_property(type, "hpet")) {
        object_set_bool(machine, "hpet", false);
    }
    if (c->no_acpi && type_property(type, "acpi")) {
        object_set_bool(machine, "acpi", false);
    }
    if (c->machine_options && !keyvals_foreach(c->machine_options, set_machine_property, &options, err)) {
        return NULL;
    }
    return machine;
}

/* -drive if=virtio: a virtio-blk-pci each, after the devices that -device names. */
static bool add_virtio_drives(Vm *vm, GError **err)
{
    DriveInfo *drive;

    for (unsigned n = 0; (drive = blk_drive_nth(vm, n)); n++) {
        g_autofree char *text = NULL;

        if (strcmp(drive->interface, "virtio") || drive->connected) {
            continue;
        }
        text = g_strdup_printf("virtio-blk-pci,drive=%s", drive->id);
        if (!device_add(vm, text, err)) {
            g_prefix_error(err, "%s: ", drive->asked ? drive->asked : drive->id);
            return false;
        }
    }
    return true;
}

static bool build_machine(Vm *vm, Config *c, Machine *machine, GError **err)
{
    bool ok = machine->ops->init(machine, err);

    for (unsigned i = 0; ok && i < c->devices->len; i++) {
        ok = device_add(vm, c->devices->pdata[i], err) != NULL;
    }
    if (ok && c->debugcon) {
        bool none = false;

        ok = chardev_add_legacy(vm, "debugcon", c->debugcon, &none, err);
        if (!ok) {
            g_prefix_error(err, "-debugcon %s: ", c->debugcon);
        }
        ok = ok && (none || device_add(vm, "isa-debugcon,iobase=0xe9,chardev=debugcon", err));
    }
    ok = ok && add_virtio_drives(vm, err);
    return ok && (!machine->ops->done || machine->ops->done(machine, err));
}

/* What -machine and -mem-prealloc say of all memory becomes the back ends' default. */
static void set_memory_defaults(Vm *vm, const Config *c, const Machine *machine)
{
    static const GlobalProp no_merge = {.driver = "memory-backend", .property = "merge", .value = "off"};
    static const GlobalProp no_dump = {.driver = "memory-backend", .property = "dump", .value = "off"};
    static const GlobalProp prealloc = {.driver = "memory-backend", .property = "prealloc", .value = "on"};

    if (!machine->mem_merge) {
        g_array_append_val(vm->globals, no_merge);
    }
    if (!machine->dump_guest_core) {
        g_array_append_val(vm->globals, no_dump);
    }
    if (c->machine.mem_prealloc) {
        g_autofree char *text = g_strdup_printf("%u", MIN(c->machine.smp.cpus, 256));
        GlobalProp threads = {.driver = "memory-backend", .property = "prealloc-threads", .value = g_intern_string(text)};

        g_array_append_val(vm->globals, threads);
        g_array_append_val(vm->globals, prealloc);
    }
}

static void describe_vm(Vm *vm, Config *c)
{
    vm->name = g_strdup(c->name);
    vm->has_uuid = c->has_uuid;
    memcpy(vm->uuid, c->uuid, sizeof vm->uuid);
    vm->no_acpi = c->no_acpi;
    vm->no_hpet = c->no_hpet;
    vm->data_dirs = c->data_dirs;
    vm->autostart = !c->start_stopped;
    vm->ram_size = c->machine.ram_size;
    *vm_actions(vm) = c->actions;
}

static bool build_all(Vm *vm, Config *c, GError **err)
{
    for (unsigned i = 0; i < c->globals->len; i++) {
        if (!global_add(vm, c->globals->pdata[i], err)) {
            return false;
        }
    }
    for (unsigned i = 0; i < c->add_fds->len; i++) {
        if (!fdset_add_option(vm, c->add_fds->pdata[i], err)) {
            return false;
        }
    }
    Machine *machine = make_machine(vm, c, err);
    if (!machine) {
        return false;
    }
    set_memory_defaults(vm, c, machine);
    machine->config.numa = c->machine.numa; /* --preconfig's monitor may add to it */
    if (!user_objects_create(vm, c->objects, false, err) || !open_images(vm, c, err) || !open_chardevs(vm, c, err) ||
        !open_networks(vm, c, err) || !user_objects_create(vm, c->objects, true, err) || !open_monitors(vm, c, err) || !open_accel(vm, c, err) ||
        !check_cpu_count(vm, c, machine, err)) {
        return false;
    }
    monitor_hold(vm, true);
    c->machine.numa = machine->config.numa;
    machine->config = c->machine;
    if (!machine_find_ram(machine, err) || !numa_complete(machine, err)) {
        return false;
    }
    vm->ram_size = machine->config.ram_size;
    if (c->qtest && !qtest_server_start(vm, c->qtest, c->qtest_log, err)) {
        return false;
    }
    if (machine->ops->has_ram && !cpu_model_parse(vm, c->machine.cpu_model ? c->machine.cpu_model : machine->ops->default_cpu, err)) {
        return false;
    }
    region_begin(vm); /* one publication for the whole machine */
    bool ok = build_machine(vm, c, machine, err);
    region_commit(vm);
    if (!ok) {
        return false;
    }
    globals_check_used(vm);
    check_nics_made(vm);
    if (!vm->accel->ops->machine_done(vm->accel, err)) {
        return false;
    }
    vm_reset(vm, SHUTDOWN_CAUSE_NONE);
    monitor_hold(vm, false);
    return true;
}

bool vm_build(Vm *vm, Config *config, GError **err)
{
    add_defaults(config);
    describe_vm(vm, config);
    return build_all(vm, config, err);
}
