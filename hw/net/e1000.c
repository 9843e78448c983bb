/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "e1000": Intel 82540EM Gigabit Ethernet controller, the PC's default card, as guests of QEMU 7.2
 * see it. Spec: SDM (e1000_int.h).
 *
 * Not there, as in QEMU: management, flow control, transmit delays other than the interrupt
 * mitigation below, registers through the I/O BAR (it reads as 0), wake-up, 10 and 100 Mbit/s.
 *
 * Interrupts are mitigated: after one, the next waits for ITR (or RADV, TADV), at least 128
 * microseconds. When receiving is switched on, packets wait a second: 32-bit Windows 10 hangs when
 * one comes before its driver is ready (known from QEMU).
 */
#include "core/clock.h"
#include "hw/net/e1000_int.h"
#include "util/trace.h"

#define MMIO_SIZE 0x20000
#define IO_SIZE 0x40
#define AUTONEG_TIME (500 * NSEC_PER_MSEC)
#define RX_SETTLE_TIME (1000 * NSEC_PER_MSEC)
#define MITIGATION_UNIT 256         /* ns */
#define MITIGATION_MIN 500          /* units */
#define DEVICE_ID 0x100e

/* ---- interrupts -------------------------------------------------------------------------- */

static uint32_t shorter(uint32_t delay, uint32_t other)
{
    return other && (!delay || other < delay) ? other : delay;
}

/* Units of 256 ns until the next interrupt may come. */
static uint32_t mitigation_delay(const E1000 *s, uint32_t pending)
{
    uint32_t delay = 0;

    if (s->mit_ide && (pending & (ICR_TXQE | ICR_TXDW))) {
        delay = shorter(delay, s->mac[TADV] * 4);
    }
    if (s->mac[RDTR] && (pending & ICR_RXT0)) {
        delay = shorter(delay, s->mac[RADV] * 4);
    }
    delay = shorter(delay, s->mac[ITR]);
    return MAX(delay, MITIGATION_MIN);
}

static void set_causes(E1000 *s, uint32_t causes)
{
    uint32_t pending = s->mac[IMS] & causes;

    s->mac[ICR] = s->mac[ICS] = causes;
    if (!s->mit_irq_level && pending) {
        if (s->mit_timer_on) {
            return; /* not yet */
        }
        if (s->mitigation) {
            s->mit_timer_on = true;
            timer_arm(&s->mit_timer, clock_now(s->pci.dev.vm, CLOCK_VIRTUAL) +
                                         (int64_t)mitigation_delay(s, pending) * MITIGATION_UNIT);
        }
        s->mit_ide = false;
    }
    if (s->mit_irq_level != (pending != 0)) {
        trace(e1000_irq, "%u, causes 0x%08x mask 0x%08x", pending != 0, causes, s->mac[IMS]);
    }
    s->mit_irq_level = pending != 0;
    pci_set_irq(&s->pci, s->mit_irq_level);
}

void e1000_set_ics(E1000 *s, uint32_t causes) { set_causes(s, s->mac[ICR] | causes); }

static void mitigation_over(void *opaque)
{
    E1000 *s = opaque;

    s->mit_timer_on = false;
    set_causes(s, s->mac[ICR]);
}

/* ---- link -------------------------------------------------------------------------------- */

bool e1000_has_autoneg(const E1000 *s)
{
    return s->autonegotiation && (s->phy[PHY_CTRL] & PHY_CTRL_AUTONEG);
}

void e1000_link_up(E1000 *s)
{
    s->mac[STATUS] |= STATUS_LU;
    s->phy[PHY_STATUS] |= PHY_STATUS_LINK;
    net_port_ready(s->port);
}

void e1000_link_down(E1000 *s)
{
    s->mac[STATUS] &= ~STATUS_LU;
    s->phy[PHY_STATUS] &= ~(PHY_STATUS_LINK | PHY_STATUS_AUTONEG_DONE);
    s->phy[PHY_LPA] &= ~0x4000;
}

void e1000_restart_autoneg(E1000 *s)
{
    e1000_link_down(s);
    timer_arm(&s->autoneg_timer, clock_now(s->pci.dev.vm, CLOCK_VIRTUAL) + AUTONEG_TIME);
}

/* Is the cable plugged in? */
static bool has_cable(const E1000 *s) { return !nic_cable_pulled(s->nic); }

static void autoneg_done(void *opaque)
{
    E1000 *s = opaque;

    if (has_cable(s)) {
        e1000_link_up(s);
        s->phy[PHY_LPA] |= 0x4000;
        s->phy[PHY_STATUS] |= PHY_STATUS_AUTONEG_DONE;
        e1000_set_ics(s, ICR_LSC);
    }
}

static void cable_changed(void *opaque, bool up)
{
    E1000 *s = opaque;
    uint32_t before = s->mac[STATUS];

    if (!up) {
        e1000_link_down(s);
    } else if (e1000_has_autoneg(s) && !(s->phy[PHY_STATUS] & PHY_STATUS_AUTONEG_DONE)) {
        e1000_restart_autoneg(s);
    } else {
        e1000_link_up(s);
    }
    if (s->mac[STATUS] != before) {
        e1000_set_ics(s, ICR_LSC);
    }
}

/* ---- statistics -------------------------------------------------------------------------- */

void e1000_count64(E1000 *s, unsigned low, uint64_t n)
{
    uint64_t sum = (uint64_t)s->mac[low + 1] << 32 | s->mac[low];

    sum = sum + n < sum ? UINT64_MAX : sum + n;
    s->mac[low] = (uint32_t)sum;
    s->mac[low + 1] = (uint32_t)(sum >> 32);
}

void e1000_count_size(E1000 *s, unsigned first, size_t size)
{
    e1000_count(s, first + (size > 1023  ? 5
                            : size > 511 ? 4
                            : size > 255 ? 3
                            : size > 127 ? 2
                            : size > 64  ? 1
                                         : 0));
}

/* ---- registers --------------------------------------------------------------------------- */

/* How registers that are more than memory behave: [first, last] by word index. */
typedef enum RegKind {
    REG_NONE,               /* reads as 0 */
    REG_PLAIN,
    REG_READ,               /* writes are dropped */
    REG_CLEAR,              /* reading clears it */
    REG_CLEAR64,            /* the high word: reading clears both */
    REG_MASK,               /* only these bits are kept */
} RegKind;

typedef struct RegRange {
    uint32_t first, last;   /* byte offsets */
    RegKind kind;
    uint32_t mask;
    bool extra;             /* only with extra_mac_registers */
} RegRange;

/* Sorted by offset; what is missing is REG_NONE. */
static const RegRange ranges[] = {
    {0x0000, 0x0000, REG_PLAIN},
    {0x0008, 0x0008, REG_READ},
    {0x0010, 0x0014, REG_PLAIN},
    {0x0020, 0x0020, REG_PLAIN},
    {0x0028, 0x0030, REG_READ, 0, true},
    {0x0038, 0x0038, REG_PLAIN},
    {0x00c0, 0x00c0, REG_PLAIN},
    {0x00c4, 0x00c4, REG_MASK, 0xffff},
    {0x00c8, 0x00c8, REG_PLAIN},
    {0x00d0, 0x00d0, REG_PLAIN},
    {0x0100, 0x0100, REG_PLAIN},
    {0x0400, 0x0400, REG_PLAIN},
    {0x0458, 0x0458, REG_MASK, 0xffff, true},
    {0x0e00, 0x0e00, REG_PLAIN},
    {0x1000, 0x1000, REG_PLAIN},
    {0x2410, 0x2410, REG_MASK, 0x1fff, true},
    {0x2418, 0x2418, REG_MASK, 0x1fff, true},
    {0x2420, 0x2420, REG_MASK, 0x1fff, true},
    {0x2428, 0x2428, REG_MASK, 0x1fff, true},
    {0x2430, 0x2430, REG_MASK, 0x1fff, true},
    {0x2800, 0x2804, REG_PLAIN},
    {0x2808, 0x2808, REG_MASK, 0xfff80},
    {0x2810, 0x2810, REG_MASK, 0xffff},
    {0x2818, 0x2818, REG_MASK, 0xffff},
    {0x2820, 0x2820, REG_MASK, 0xffff},
    {0x282c, 0x282c, REG_MASK, 0xffff},
    {0x3410, 0x3410, REG_MASK, 0x7ff, true},
    {0x3418, 0x3418, REG_MASK, 0x7ff, true},
    {0x3420, 0x3420, REG_MASK, 0x1fff, true},
    {0x3428, 0x3428, REG_MASK, 0x1fff, true},
    {0x3430, 0x3430, REG_MASK, 0x1fff, true},
    {0x3800, 0x3804, REG_PLAIN},
    {0x3808, 0x3808, REG_MASK, 0xfff80},
    {0x3810, 0x3810, REG_MASK, 0xffff},
    {0x3818, 0x3818, REG_MASK, 0xffff},
    {0x3828, 0x3828, REG_PLAIN},
    {0x382c, 0x382c, REG_MASK, 0xffff},
    {0x4000, 0x4054, REG_READ},
    {0x4058, 0x4058, REG_PLAIN, 0, true},
    {0x405c, 0x407c, REG_CLEAR},
    {0x4080, 0x4080, REG_CLEAR},
    {0x4088, 0x4088, REG_READ},
    {0x408c, 0x408c, REG_CLEAR64},
    {0x4090, 0x4090, REG_READ},
    {0x4094, 0x4094, REG_CLEAR64},
    {0x40a0, 0x40b8, REG_CLEAR},
    {0x40c0, 0x40c0, REG_READ},
    {0x40c4, 0x40c4, REG_CLEAR64},
    {0x40c8, 0x40c8, REG_READ},
    {0x40cc, 0x40cc, REG_CLEAR64},
    {0x40d0, 0x40f4, REG_CLEAR},
    {0x40f8, 0x40fc, REG_READ},
    {0x5200, 0x547c, REG_PLAIN},
    {0x5600, 0x57fc, REG_PLAIN},
    {0x5800, 0x5800, REG_PLAIN, 0, true},
    {0x5808, 0x5808, REG_PLAIN},
    {0x5810, 0x5810, REG_PLAIN, 0, true},
    {0x5820, 0x5820, REG_READ},
    {0x5838, 0x5838, REG_PLAIN, 0, true},
    {0x5840, 0x5858, REG_PLAIN, 0, true},
    {0x5880, 0x588c, REG_PLAIN, 0, true},
    {0x5a00, 0x5a7c, REG_PLAIN, 0, true},
    {0x5b50, 0x5b50, REG_PLAIN},
    {0x5f00, 0x5f18, REG_MASK, 0x7ff, true},
    {0x9000, 0x93f8, REG_MASK, 0xf, true},
    {0x9800, 0x9bf8, REG_PLAIN, 0, true},
    {0x10000, 0x1fffc, REG_PLAIN, 0, true},
};

static const RegRange *find_range(const E1000 *s, uint32_t offset)
{
    static const RegRange none = {.kind = REG_NONE};
    size_t low = 0, high = G_N_ELEMENTS(ranges);

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (offset > ranges[middle].last) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    const RegRange *r =
        low < G_N_ELEMENTS(ranges) && offset >= ranges[low].first ? &ranges[low] : &none;
    return r->extra && !s->extra_mac_registers ? &none : r;
}

static uint32_t read_kind(E1000 *s, unsigned reg)
{
    uint32_t value = s->mac[reg];

    switch (find_range(s, reg * 4)->kind) {
    case REG_NONE:
        return 0;
    case REG_CLEAR:
        s->mac[reg] = 0;
        return value;
    case REG_CLEAR64:
        s->mac[reg] = s->mac[reg - 1] = 0;
        return value;
    default:
        return value;
    }
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
    E1000 *s = opaque;
    unsigned reg = (unsigned)offset / 4;
    uint32_t value;

    switch (reg) {
    case EECD:
        value = e1000_read_eecd(s);
        break;
    case EERD:
        value = e1000_read_eerd(s);
        break;
    case ICR:
        value = s->mac[ICR];
        set_causes(s, 0);
        break;
    case IMC:
        value = 0;
        break;
    default:
        value = read_kind(s, reg);
        break;
    }
    trace(e1000_read, "0x%05x -> 0x%08x", (unsigned)offset, value);
    return value;
}

static void write_rctl(E1000 *s, uint32_t value)
{
    bool starts = (value & RCTL_EN) && !(s->mac[RCTL] & RCTL_EN);

    s->mac[RCTL] = value;
    s->rxbuf_size = e1000_buffer_size(value);
    s->rxbuf_min_shift = (value >> 8 & 3) + 1;
    if (starts) {
        timer_arm(&s->rx_timer, clock_now(s->pci.dev.vm, CLOCK_VIRTUAL) + RX_SETTLE_TIME);
    }
}

static void receiving_settled(void *opaque) { net_port_ready(((E1000 *)opaque)->port); }
static void transmit_rest(void *opaque) { e1000_transmit(opaque); }

static void write_kind(E1000 *s, unsigned reg, uint32_t value)
{
    const RegRange *r = find_range(s, reg * 4);

    if (r->kind == REG_PLAIN) {
        s->mac[reg] = value;
    } else if (r->kind == REG_MASK) {
        s->mac[reg] = value & r->mask;
    }
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t wide, unsigned size)
{
    E1000 *s = opaque;
    unsigned reg = (unsigned)offset / 4;
    uint32_t value = (uint32_t)wide;

    trace(e1000_write, "0x%05x <- 0x%08x", (unsigned)offset, value);
    switch (reg) {
    case CTRL:
        s->mac[CTRL] = value & ~CTRL_RST;
        break;
    case EECD:
        e1000_write_eecd(s, value);
        break;
    case MDIC:
        e1000_write_mdic(s, value);
        break;
    case ICR:
        set_causes(s, s->mac[ICR] & ~value);
        break;
    case ICS:
        e1000_set_ics(s, value);
        break;
    case IMS:
        s->mac[IMS] |= value;
        e1000_set_ics(s, 0);
        break;
    case IMC:
        s->mac[IMS] &= ~value;
        e1000_set_ics(s, 0);
        break;
    case RCTL:
        write_rctl(s, value);
        break;
    case TCTL:
    case TDT:
        write_kind(s, reg, value);
        e1000_transmit(s);
        break;
    case TDH:
        write_kind(s, reg, value);
        s->tx.desc_done = 0; /* it begins there with a whole one */
        break;
    case RDT:
        write_kind(s, reg, value);
        net_port_ready(s->port);
        break;
    case RA + 1: /* the driver's address, in two writes */
        write_kind(s, reg, value);
        memcpy(s->conf.mac, s->mac + RA, 6);
        nic_set_mac(s->nic, s->conf.mac);
        break;
    default:
        write_kind(s, reg, value);
        break;
    }
}

static const RegionOps mmio_ops = {
    .read = mmio_read,
    .write = mmio_write,
    .impl = {.min_size = 4, .max_size = 4},
};

static uint64_t io_read(void *opaque, uint64_t offset, unsigned size) { return 0; }

static const RegionOps io_ops = {.read = io_read}; /* writes are dropped */

/* Bus mastering is switched on: descriptors can be reached. */
static void config_written(PciDevice *pci, uint32_t addr, unsigned size)
{
    E1000 *s = container_of(pci, E1000, pci);

    if (addr <= PCI_COMMAND && addr + size > PCI_COMMAND &&
        (load16_le(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER)) {
        net_port_ready(s->port);
    }
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static const struct {
    unsigned reg;
    uint32_t value;
} reset_values[] = {
    {CTRL, 0x00140240},     /* up, 1000 Mbit/s */
    {STATUS, 0x80080783},   /* full duplex, link up, 1000 Mbit/s */
    {LEDCTL, 0x00000602}, {PBA, 0x00100030}, {MANC, 0x00222300},
};

static void e1000_reset(Device *dev)
{
    E1000 *s = container_of(dev, E1000, pci.dev);

    timer_cancel(&s->autoneg_timer);
    timer_cancel(&s->mit_timer);
    timer_cancel(&s->rx_timer);
    timer_cancel(&s->tx_timer);
    s->mit_timer_on = s->mit_irq_level = s->mit_ide = false;
    e1000_phy_reset(s);
    for (unsigned i = 0; i < E1000_REGS; i++) {
        if (s->mac[i]) { /* pages that nobody used stay so */
            s->mac[i] = 0;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(reset_values); i++) {
        s->mac[reset_values[i].reg] = reset_values[i].value;
    }
    s->mac[VET] = s->init_vet ? 0x8100 : 0;
    s->rxbuf_min_shift = 1;
    s->rxbuf_size = 2048;
    s->tx.size = s->tx.tso_frames = 0;
    s->tx.sum_needed = 0;
    s->tx.desc_done = 0;
    s->tx.tag_needed = s->tx.cptse = false;
    s->tx.props = s->tx.tso_props = (E1000Context){0};
    memset(&s->eecd, 0, sizeof s->eecd);
    memcpy(s->conf.mac, s->eeprom, 6);
    s->mac[RA] = load32_le(s->conf.mac);
    s->mac[RA + 1] = load16_le(s->conf.mac + 4) | RAH_AV;
    nic_set_mac(s->nic, s->conf.mac);
    pci_set_irq(&s->pci, 0);
    if (!has_cable(s)) {
        e1000_link_down(s);
    }
}

static const NicOps nic_operations = {
    .port = {.can_receive = e1000_can_receive,
             .receive = e1000_receive,
             .link_changed = cable_changed},
};

/* What was begun is done while the guest's memory may still change. */
static void on_run_state(void *opaque, bool running, RunState state)
{
    if (!running) {
        e1000_finish_descriptor(opaque);
    }
}

static bool e1000_realize(Device *dev, GError **err)
{
    E1000 *s = container_of(dev, E1000, pci.dev);

    s->pci.config[PCI_CACHE_LINE_SIZE] = 0x10;
    s->pci.config[PCI_INTERRUPT_PIN] = 1;
    region_init_io(&s->mmio, &mmio_ops, s, "e1000-mmio", MMIO_SIZE);
    region_init_io(&s->io, &io_ops, s, "e1000-io", IO_SIZE);
    pci_register_bar(&s->pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    pci_register_bar(&s->pci, 1, PCI_BASE_ADDRESS_SPACE_IO, &s->io);
    timer_init(&s->autoneg_timer, dev->vm, CLOCK_VIRTUAL, autoneg_done, s);
    timer_init(&s->mit_timer, dev->vm, CLOCK_VIRTUAL, mitigation_over, s);
    timer_init(&s->rx_timer, dev->vm, CLOCK_VIRTUAL, receiving_settled, s);
    timer_init(&s->tx_timer, dev->vm, CLOCK_VIRTUAL, transmit_rest, s);
    s->nic = nic_new(dev, &s->conf, &nic_operations, s, 1);
    s->port = nic_port(s->nic, 0);
    e1000_eeprom_init(s, DEVICE_ID);
    vm_on_run_state(dev->vm, on_run_state, s);
    return true;
}

static void e1000_unrealize(Device *dev)
{
    E1000 *s = container_of(dev, E1000, pci.dev);

    vm_off_run_state(dev->vm, on_run_state, s);
    timer_cancel(&s->autoneg_timer);
    timer_cancel(&s->mit_timer);
    timer_cancel(&s->rx_timer);
    timer_cancel(&s->tx_timer);
    nic_free(s->nic);
    region_destroy(&s->mmio);
    region_destroy(&s->io);
}

/* ---- state ------------------------------------------------------------------------------- */

static void e1000_pre_save(void *obj)
{
    E1000 *s = obj;

    if (s->mit_timer_on) { /* the wire has no such timer */
        timer_cancel(&s->mit_timer);
        mitigation_over(s);
    }
    if (!has_cable(s) && e1000_has_autoneg(s)) {
        s->phy[PHY_STATUS] |= PHY_STATUS_AUTONEG_DONE;
    }
    s->mig_props = s->tso_for_migration ? s->tx.tso_props : s->tx.props;
}

static bool e1000_pre_load(void *obj, GError **err)
{
    E1000 *s = obj;

    STATE_KEEP(s->received_tso);
    STATE_KEEP(s->tx.desc_done);
    s->received_tso = false;
    s->tx.desc_done = 0;
    state_cancel_timer(&s->autoneg_timer);
    state_cancel_timer(&s->mit_timer);
    state_cancel_timer(&s->rx_timer);
    state_cancel_timer(&s->tx_timer);
    return true;
}

static bool e1000_post_load(void *obj, unsigned version, GError **err)
{
    E1000 *s = obj;
    int64_t now = clock_now(s->pci.dev.vm, CLOCK_VIRTUAL);

    s->rxbuf_size = e1000_buffer_size(s->mac[RCTL]);
    s->rxbuf_min_shift = (s->mac[RCTL] >> 8 & 3) + 1;
    if (!s->mitigation) {
        s->mac[RDTR] = s->mac[RADV] = s->mac[TADV] = s->mac[ITR] = 0;
        s->mit_irq_level = false;
    }
    s->mit_ide = false;
    s->mit_timer_on = true;
    timer_arm(&s->mit_timer, now + NSEC_PER_MSEC);
    nic_set_cable(s->nic, s->mac[STATUS] & STATUS_LU);
    if (e1000_has_autoneg(s) && !(s->phy[PHY_STATUS] & PHY_STATUS_AUTONEG_DONE)) {
        nic_set_cable(s->nic, true);
        timer_arm(&s->autoneg_timer, now + AUTONEG_TIME);
    }
    s->tx.props = s->mig_props;
    if (!s->received_tso) {
        s->tx.tso_props = s->mig_props;
    }
    s->tx.cptse = s->tx.tag_needed = false;
    if (s->mac[TDH] != s->mac[TDT] && MAX(s->mac[TDH], s->mac[TDT]) < s->mac[TDLEN] / 16) {
        timer_arm(&s->tx_timer, now); /* a long ring that was being sent */
    }
    memcpy(s->conf.mac, s->mac + RA, 6);
    nic_set_mac(s->nic, s->conf.mac);
    return true;
}

static bool tso_post_load(void *obj, unsigned version, GError **err)
{
    ((E1000 *)obj)->received_tso = true;
    return true;
}

static bool needs_mitigation(void *obj) { return ((E1000 *)obj)->mitigation; }
static bool needs_registers(void *obj) { return ((E1000 *)obj)->extra_mac_registers; }
static bool needs_tso(void *obj) { return ((E1000 *)obj)->migrate_tso_props; }

#define STATE_MAC(r) STATE_U32(E1000, mac[r], .name = "mac_reg[" #r "]")

#define STATE_CONTEXT(field, wire)                                                                 \
    STATE_U8(E1000, field.ipcss, .name = wire ".ipcss"),                                           \
        STATE_U8(E1000, field.ipcso, .name = wire ".ipcso"),                                       \
        STATE_U16(E1000, field.ipcse, .name = wire ".ipcse"),                                      \
        STATE_U8(E1000, field.tucss, .name = wire ".tucss"),                                       \
        STATE_U8(E1000, field.tucso, .name = wire ".tucso"),                                       \
        STATE_U16(E1000, field.tucse, .name = wire ".tucse"),                                      \
        STATE_U32(E1000, field.paylen, .name = wire ".paylen"),                                    \
        STATE_U8(E1000, field.hdr_len, .name = wire ".hdr_len"),                                   \
        STATE_U16(E1000, field.mss, .name = wire ".mss")
#define STATE_CONTEXT_END(field, wire)                                                             \
    STATE_ANY(E1000, field.ip, &state_kind_i8, 1, .name = wire ".ip"),                             \
        STATE_ANY(E1000, field.tcp, &state_kind_i8, 1, .name = wire ".tcp")

static const StateField mit_fields[] = {STATE_MAC(RDTR),
                                        STATE_MAC(RADV),
                                        STATE_MAC(TADV),
                                        STATE_MAC(ITR),
                                        STATE_BOOL(E1000, mit_irq_level),
                                        {}};
static const StateDesc mit_state = {.name = "e1000/mit_state",
                                    .version = 1,
                                    .min_version = 1,
                                    .fields = mit_fields,
                                    .needed = needs_mitigation};

static const StateField full_fields[] = {
    STATE_ARRAY(E1000, mac, u32, E1000_REGS, .name = "mac_reg"), {}};
static const StateDesc full_state = {.name = "e1000/full_mac_state",
                                     .version = 1,
                                     .min_version = 1,
                                     .fields = full_fields,
                                     .needed = needs_registers};

static const StateField tso_fields[] = {STATE_CONTEXT(tx.tso_props, "tx.tso_props"),
                                        STATE_CONTEXT_END(tx.tso_props, "tx.tso_props"),
                                        {}};
static const StateDesc tso_state = {.name = "e1000/tx_tso_state",
                                    .version = 1,
                                    .min_version = 1,
                                    .fields = tso_fields,
                                    .needed = needs_tso,
                                    .post_load = tso_post_load};

static const StateDesc *const e1000_subsections[] = {&mit_state, &full_state, &tso_state, NULL};

static const StateField e1000_fields[] = {
    STATE_PCI_DEVICE(E1000, pci, .name = "parent_obj"),
    STATE_UNUSED(4, .name = "unused[1]"),
    STATE_U32(E1000, rxbuf_size),
    STATE_U32(E1000, rxbuf_min_shift),
    STATE_U32(E1000, eecd.val_in, .name = "eecd_state.val_in"),
    STATE_U16(E1000, eecd.bitnum_in, .name = "eecd_state.bitnum_in"),
    STATE_U16(E1000, eecd.bitnum_out, .name = "eecd_state.bitnum_out"),
    STATE_U16(E1000, eecd.reading, .name = "eecd_state.reading"),
    STATE_U32(E1000, eecd.old_eecd, .name = "eecd_state.old_eecd"),
    STATE_CONTEXT(mig_props, "mig_props"),
    STATE_U16(E1000, tx.size),
    STATE_U16(E1000, tx.tso_frames),
    STATE_U8(E1000, tx.sum_needed),
    STATE_CONTEXT_END(mig_props, "mig_props"),
    STATE_BUFFER(E1000, tx.header),
    STATE_BUFFER(E1000, tx.data),
    STATE_ARRAY(E1000, eeprom, u16, 64, .name = "eeprom_data"),
    STATE_ARRAY(E1000, phy, u16, PHY_REGS, .name = "phy_reg"),
    STATE_MAC(CTRL),
    STATE_MAC(EECD),
    STATE_MAC(EERD),
    STATE_MAC(GPRC),
    STATE_MAC(GPTC),
    STATE_MAC(ICR),
    STATE_MAC(ICS),
    STATE_MAC(IMC),
    STATE_MAC(IMS),
    STATE_MAC(LEDCTL),
    STATE_MAC(MANC),
    STATE_MAC(MDIC),
    STATE_MAC(MPC),
    STATE_MAC(PBA),
    STATE_MAC(RCTL),
    STATE_MAC(RDBAH),
    STATE_MAC(RDBAL),
    STATE_MAC(RDH),
    STATE_MAC(RDLEN),
    STATE_MAC(RDT),
    STATE_MAC(STATUS),
    STATE_MAC(SWSM),
    STATE_MAC(TCTL),
    STATE_MAC(TDBAH),
    STATE_MAC(TDBAL),
    STATE_MAC(TDH),
    STATE_MAC(TDLEN),
    STATE_MAC(TDT),
    STATE_MAC(TORH),
    STATE_MAC(TORL),
    STATE_MAC(TOTH),
    STATE_MAC(TOTL),
    STATE_MAC(TPR),
    STATE_MAC(TPT),
    STATE_MAC(TXDCTL),
    STATE_MAC(WUFC),
    STATE_MAC(VET),
    STATE_ARRAY(E1000, mac, u32, 32, .name = "mac_reg", .offset = offsetof(E1000, mac[RA])),
    STATE_ARRAY(E1000, mac, u32, 128, .name = "mac_reg", .offset = offsetof(E1000, mac[MTA])),
    STATE_ARRAY(E1000, mac, u32, 128, .name = "mac_reg", .offset = offsetof(E1000, mac[VFTA])),
    {}};

static const StateDesc e1000_state = {
    .name = "e1000",
    .version = 2,
    .min_version = 2,
    .fields = e1000_fields,
    .subsections = e1000_subsections,
    .pre_save = e1000_pre_save,
    .pre_load = e1000_pre_load,
    .post_load = e1000_post_load,
};

/* ---- what users and managers see --------------------------------------------------------- */

static const Property e1000_props[] = {
    PROPS_NIC(E1000, conf),
    PROP_BOOL("autonegotiation", E1000, autonegotiation, .def = true,
              .help = "the PHY negotiates the link"),
    PROP_BOOL("mitigation", E1000, mitigation, .def = true,
              .help = "interrupts are put off when they come fast"),
    PROP_BOOL("extra_mac_registers", E1000, extra_mac_registers, .def = true,
              .help = "registers of QEMU 2.6 and later"),
    PROP_BOOL("migrate_tso_props", E1000, migrate_tso_props, .def = true,
              .help = "segmentation's settings are in the state"),
    PROP_BOOL("init-vet", E1000, init_vet, .def = true, .help = "VET is 8100h after reset"),
    {}};

static const PciInfo e1000_info = {
    .vendor_id = 0x8086,
    .device_id = DEVICE_ID,
    .revision = 3,
    .class_id = PCI_CLASS_NETWORK_ETHERNET,
    .romfile = "efi-e1000.rom",
    .config_written = config_written,
};

DEVICE_TYPE(e1000) = {
    .name = "e1000",
    .parent = "pci-device",
    .desc = "Intel Gigabit Ethernet",
    .size = sizeof(E1000),
    .category = "network",
    .props = e1000_props,
    .state = &e1000_state,
    .ops = &e1000_info,
    .realize = e1000_realize,
    .unrealize = e1000_unrealize,
    .reset = e1000_reset,
};
