/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who the board's devices of no bus belong to: CPUs (pc_cpus.c) and modules of memory (pc_memory.c). */
#include "accel/x86/cpu.h"
#include "hw/i386/pc.h"

static Cpu *to_cpu(Device *dev) { return object_is_a(dev, "x86_64-cpu") ? container_of(dev, Cpu, dev) : NULL; }
static PcDimm *to_dimm(Device *dev) { return object_is_a(dev, "pc-dimm") ? container_of(dev, PcDimm, dev) : NULL; }

static bool may_plug(void *opaque, Device *dev, GError **err)
{
    PcMachine *pc = opaque;

    if (to_cpu(dev)) {
        return cpu_check_type(pc->machine.vm, dev->obj.type, err);
    }
    return to_dimm(dev) || !dev->hotplugged ||
           error_set(err, "Device '%s' can not be hotplugged on this machine", dev->obj.type->name);
}

static bool set_defaults(void *opaque, Device *dev, GError **err) { return !to_cpu(dev) || cpu_set_options(to_cpu(dev), err); }

static bool pre_plug(void *opaque, Device *dev, GError **err)
{
    return to_cpu(dev) ? pc_cpu_pre_plug(opaque, to_cpu(dev), err)
                       : !to_dimm(dev) || pc_dimm_pre_plug(opaque, to_dimm(dev), err);
}

static void plugged(void *opaque, Device *dev)
{
    if (to_cpu(dev)) {
        pc_cpu_plugged(opaque, to_cpu(dev));
    } else if (to_dimm(dev)) {
        pc_dimm_plugged(opaque, to_dimm(dev));
    }
}

static bool request_unplug(void *opaque, Device *dev, GError **err)
{
    if (to_cpu(dev)) {
        return pc_cpu_request_unplug(opaque, to_cpu(dev), err);
    }
    if (to_dimm(dev)) {
        pc_dimm_request_unplug(opaque, to_dimm(dev));
        return true;
    }
    return error_set(err, "Device '%s' does not support hotplugging", dev->obj.type->name);
}

void pc_enable_hotplug(PcMachine *pc)
{
    static const HotplugOps ops = {
        .may_plug = may_plug,
        .set_defaults = set_defaults,
        .pre_plug = pre_plug,
        .plugged = plugged,
        .request_unplug = request_unplug,
    };

    pc->machine.vm->board_hotplug = &ops;
    pc->machine.vm->board_hotplug_opaque = pc;
}
