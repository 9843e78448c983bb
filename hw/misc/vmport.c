/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmport: VMware's backdoor port, as far as QEMU 7.2 has it. hw/misc/vmport.h tells the protocol.
 *
 * Guests ask here what hypervisor they run on (Linux does, when CPUID does not say), how fast the
 * TSC and the APIC's bus are, and for the absolute pointer. The x- properties are those of older
 * machines: how a command that nobody answers looks, and which commands there are.
 *
 * Where no CPU makes the access (qtest, a debugger), the port reads as ones.
 */
#include "hw/misc/vmport.h"

#include "accel/x86/cpu.h"
#include "hw/isa/isa.h"
#include "util/trace.h"

#define VMPORT_PORT 0x5658
#define VMPORT_MAGIC 0x564d5868
#define MEMORY_SIZE_REPLY 0x1177     /* what QEMU 7.2 leaves in EBX */
#define APIC_BUS_HZ 1000000000       /* of KVM's LAPIC */
#define VCPU_INFO_X2APIC 0x08        /* x2APIC works without interrupt remapping */
#define CPUID_1_ECX_X2APIC 21

typedef struct Vmport {
    IsaDevice isa;
    Region registers, port;          /* the port is one byte wide; its register is a double word */
    VmportCommand *handlers[VMPORT_NUM_COMMANDS];
    void *opaques[VMPORT_NUM_COMMANDS];
    bool read_set_eax, signal_unsupported, report_vmx_type, cmds_v2;
    uint32_t version;                /* of "VMX", the answer to GET_VERSION */
    uint8_t type;                    /* of product: 1 is GSX, 2 ESX, 4 Workstation */
} Vmport;

void vmport_register(Device *dev, unsigned command, VmportCommand *handler, void *opaque)
{
    Vmport *s = container_of(dev, Vmport, isa.dev);

    g_assert(command < VMPORT_NUM_COMMANDS && !s->handlers[command]);
    s->handlers[command] = handler;
    s->opaques[command] = opaque;
}

/* ---- commands ---------------------------------------------------------------------- */

static void get_version(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    const Vmport *s = opaque;

    regs[VMPORT_EAX] = s->version;
    regs[VMPORT_EBX] = VMPORT_MAGIC;
    if (s->report_vmx_type) {
        regs[VMPORT_ECX] = s->type;
    }
}

static void get_bios_uuid(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    const Vmport *s = opaque;

    for (unsigned i = 0; i < 4; i++) {
        regs[VMPORT_EAX + i] = load32_le(s->isa.dev.vm->uuid + 4 * i);
    }
}

static void get_memory_size(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    const Vmport *s = opaque;

    regs[VMPORT_EAX] = (uint32_t)s->isa.dev.vm->ram_size;
    regs[VMPORT_EBX] = MEMORY_SIZE_REPLY;
}

static void get_hz(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    uint64_t hz = (uint64_t)cpu_current()->env.tsc_khz * 1000;

    if (hz) {
        regs[VMPORT_EAX] = (uint32_t)hz;
        regs[VMPORT_EBX] = (uint32_t)(hz >> 32);
        regs[VMPORT_ECX] = APIC_BUS_HZ;
    } else {
        regs[VMPORT_EBX] = UINT32_MAX; /* not known */
    }
}

static void get_vcpu_info(void *opaque, uint32_t regs[VMPORT_NUM_REGS])
{
    bool x2apic = cpu_has_feature(cpu_current(), FEAT_1_ECX, CPUID_1_ECX_X2APIC);

    regs[VMPORT_EAX] = x2apic ? VCPU_INFO_X2APIC : 0;
}

/* ---- the port ---------------------------------------------------------------------- */

/* Answers what the registers ask. */
static void serve(Vmport *s, uint32_t regs[VMPORT_NUM_REGS])
{
    const uint32_t eax = regs[VMPORT_EAX];
    const unsigned command = regs[VMPORT_ECX] & 0xffff;

    if (eax == VMPORT_MAGIC && command < VMPORT_NUM_COMMANDS && s->handlers[command]) {
        trace(vmport_command, "command %u parameter 0x%x", command, regs[VMPORT_EBX]);
        s->handlers[command](s->opaques[command], regs);
    } else {
        trace(vmport_unknown, "eax 0x%x command %u", eax, command);
        regs[VMPORT_EAX] = s->signal_unsupported ? UINT32_MAX : eax;
    }
}

/* These hand over registers; the others answer with the access, which the low part of EAX gets. */
static bool hands_over_eax(uint32_t ecx)
{
    switch (ecx & 0xffff) {
    case VMPORT_GET_BIOS_UUID:
    case VMPORT_GET_HZ:
    case VMPORT_MOUSE_DATA:
    case VMPORT_MOUSE_STATUS:
        return true;
    default:
        return false;
    }
}

static uint64_t vmport_access(Vmport *s)
{
    static const uint8_t number[VMPORT_NUM_REGS] = {X86_RAX, X86_RBX, X86_RCX,
                                                    X86_RDX, X86_RSI, X86_RDI};
    const AccelOps *ops = s->isa.dev.vm->accel->ops;
    Cpu *cpu = cpu_current();
    g_autoptr(GError) err = NULL;
    uint32_t regs[VMPORT_NUM_REGS];

    if (!cpu) {
        return UINT32_MAX;
    }
    if (!ops->exit_regs_get(cpu, &err)) {
        guest_error(&s->isa.dev, "%s", err->message);
        return UINT32_MAX;
    }
    for (unsigned i = 0; i < VMPORT_NUM_REGS; i++) {
        regs[i] = (uint32_t)cpu->env.regs[number[i]];
    }
    const uint32_t eax = regs[VMPORT_EAX];
    const bool keep_eax = !s->read_set_eax && !hands_over_eax(regs[VMPORT_ECX]);
    serve(s, regs);
    const uint32_t answer = regs[VMPORT_EAX];
    if (keep_eax) {
        regs[VMPORT_EAX] = eax;
    }
    for (unsigned i = 0; i < VMPORT_NUM_REGS; i++) {
        if (regs[i] != (uint32_t)cpu->env.regs[number[i]]) {
            cpu->env.regs[number[i]] = regs[i];
        }
    }
    if (!ops->exit_regs_put(cpu, &err)) {
        guest_error(&s->isa.dev, "%s", err->message);
    }
    return answer;
}

static uint64_t vmport_read(void *opaque, uint64_t offset, unsigned size)
{
    return vmport_access(opaque);
}

static void vmport_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    vmport_access(opaque);
}

static const RegionOps vmport_ops = {.read = vmport_read, .write = vmport_write};

/* ---- lifecycle --------------------------------------------------------------------- */

static bool vmport_realize(Device *dev, GError **err)
{
    Vmport *s = container_of(dev, Vmport, isa.dev);

    vmport_register(dev, VMPORT_GET_VERSION, get_version, s);
    vmport_register(dev, VMPORT_GET_MEMORY_SIZE, get_memory_size, s);
    if (s->cmds_v2) {
        vmport_register(dev, VMPORT_GET_BIOS_UUID, get_bios_uuid, s);
        vmport_register(dev, VMPORT_GET_HZ, get_hz, s);
        vmport_register(dev, VMPORT_GET_VCPU_INFO, get_vcpu_info, s);
    }
    region_init_io(&s->registers, &vmport_ops, s, "vmport", 4);
    region_set_owner(&s->registers, dev);
    region_init_alias(&s->port, "vmport", &s->registers, 0, 1);
    return isa_map_ports(&s->isa, &s->port, VMPORT_PORT, err);
}

static void vmport_unrealize(Device *dev)
{
    Vmport *s = container_of(dev, Vmport, isa.dev);

    region_remove(&s->port);
    region_destroy(&s->port);
    region_destroy(&s->registers);
}

/* ---- tables ------------------------------------------------------------------------ */

static const Property vmport_props[] = {
    PROP_U32("vmware-vmx-version", Vmport, version, .def = 6, .help = "version that guests are told"),
    PROP_U8("vmware-vmx-type", Vmport, type, .def = 2, .help = "kind of product that guests are told"),
    PROP_BOOL("x-read-set-eax", Vmport, read_set_eax, .def = true,
              .help = "the answer is in EAX however wide the access was"),
    PROP_BOOL("x-signal-unsupported-cmd", Vmport, signal_unsupported, .def = true,
              .help = "all ones for what nobody answers"),
    PROP_BOOL("x-report-vmx-type", Vmport, report_vmx_type, .def = true,
              .help = "tell the kind of product with the version"),
    PROP_BOOL("x-cmds-v2", Vmport, cmds_v2, .def = true,
              .help = "commands for the UUID, the frequencies and the CPU"),
    {}
};

DEVICE_TYPE(vmport) = {
    .name = "vmport",
    .parent = "isa-device",
    .desc = "VMware's backdoor port",
    .not_user = "it is part of the board: -machine vmport=on",
    .size = sizeof(Vmport),
    .props = vmport_props,
    .realize = vmport_realize,
    .unrealize = vmport_unrealize,
};
