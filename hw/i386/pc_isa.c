/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices of the PC's ISA bus, in the order in which QEMU 7.2 makes them. */
#include "hw/i386/pc.h"
#include "hw/timer/hpet.h"
#include "hw/timer/mc146818rtc.h"

static Device *make(PcMachine *pc, const char *type, GError **err)
{
    Device *dev = device_new(pc->machine.vm, type);

    return device_realize_board(dev, NULL, &pc->isa->bus, err) ? dev : NULL;
}

/* ---- timers ----------------------------------------------------------------------------- */

static bool make_hpet(PcMachine *pc, GError **err)
{
    Vm *vm = pc->machine.vm;

    if (!pc->hpet) {
        return true;
    }
    pc->hpet_dev = device_new(vm, "hpet");
    object_set_uint(pc->hpet_dev, "hpet-intcap", 0x4); /* GSI 2 alone, as QEMU's i440FX machine */
    if (!device_realize_board(pc->hpet_dev, NULL, NULL, err)) {
        return false;
    }
    for (unsigned n = 0; n < PC_NUM_GSIS; n++) {
        device_connect(pc->hpet_dev, n, &pc->gsi[n]);
    }
    region_add(&vm->system_memory, HPET_BASE, hpet_region(pc->hpet_dev));
    return true;
}

static bool make_rtc(PcMachine *pc, GError **err)
{
    const RtcConfig *c = &pc->machine.config.rtc;
    RtcSource source = {
        .clock = c->clock,
        .base = c->base ? RTC_BASE_DATETIME : c->localtime ? RTC_BASE_LOCALTIME : RTC_BASE_UTC,
        .datetime = c->base,
        .slew = c->slew,
    };

    pc->rtc = device_new(pc->machine.vm, "mc146818rtc");
    rtc_set_source(pc->rtc, &source);
    object_set_uint(pc->rtc, "base_year", 0);
    if (!device_realize_board(pc->rtc, "rtc", &pc->isa->bus, err)) {
        return false;
    }
    if (pc->hpet_dev) {
        device_connect(pc->rtc, 0, device_irq_in(pc->hpet_dev, HPET_IN_RTC));
    }
    return true;
}

static bool make_pit(PcMachine *pc, GError **err)
{
    bool in_kernel = accel_irqchip(pc->machine.vm) == IRQCHIP_ON;

    if (!pc->pit) {
        return true;
    }
    pc->pit_dev = make(pc, in_kernel ? "kvm-pit" : "isa-pit", err);
    if (!pc->pit_dev) {
        return false;
    }
    if (!in_kernel) {
        device_connect(pc->pit_dev, 0, pc->hpet_dev ? device_irq_in(pc->hpet_dev, HPET_IN_PIT) : &pc->gsi[0]);
    }
    if (pc->hpet_dev) {
        device_connect(pc->hpet_dev, HPET_OUT_PIT_ENABLED, device_irq_in(pc->pit_dev, 0));
    }
    Device *speaker = device_new(pc->machine.vm, "isa-pcspk");
    g_autofree char *path = object_path(pc->pit_dev);
    object_set_str(speaker, "pit", path);
    return device_realize_board(speaker, NULL, &pc->isa->bus, err);
}

/* ---- ports ------------------------------------------------------------------------------- */

static bool make_ports(PcMachine *pc, const char *type, char **ids, unsigned n, unsigned max, GError **err)
{
    if (n > max) {
        return error_set(err, "-%s: a PC has at most %u of these ports, and %u were given; leave out what is too much",
                         type + strlen("isa-"), max, n);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!ids[i]) {
            continue;
        }
        Device *dev = device_new(pc->machine.vm, type);
        object_set_uint(dev, "index", i);
        if (!object_set(&dev->obj, "chardev", ids[i], err) || !device_realize_board(dev, NULL, &pc->isa->bus, err)) {
            return false;
        }
    }
    return true;
}

/* ---- pointer ----------------------------------------------------------------------------- */

static bool make_input(PcMachine *pc, GError **err)
{
    Device *i8042 = make(pc, "i8042", err), *vmport;

    if (!i8042 || pc->vmport == ON_OFF_AUTO_OFF) {
        return i8042;
    }
    vmport = make(pc, "vmport", err);
    if (!vmport) {
        return false;
    }
    g_autofree char *i8042_path = object_path(i8042);
    g_autofree char *vmport_path = object_path(vmport);
    pc->vmmouse = device_new(pc->machine.vm, "vmmouse");
    object_set_str(pc->vmmouse, "i8042", i8042_path);
    object_set_str(pc->vmmouse, "vmport", vmport_path);
    return device_realize_board(pc->vmmouse, NULL, &pc->isa->bus, err);
}

bool pc_create_isa_devices(PcMachine *pc, GError **err)
{
    const MachineConfig *c = &pc->machine.config;

    return make_hpet(pc, err) && make_rtc(pc, err) && make_pit(pc, err) &&
           make_ports(pc, "isa-serial", c->serial_ids, c->n_serials, 4, err) &&
           make_ports(pc, "isa-parallel", c->parallel_ids, c->n_parallels, 3, err) &&
           (pc->fdc = make(pc, "isa-fdc", err)) && make_input(pc, err) && make(pc, "port92", err);
}
