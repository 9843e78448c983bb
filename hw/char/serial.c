/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 16550A UART (PC16550D data sheet), as QEMU 7.2's guests know it: bytes leave as fast as the back
 * end takes them, only the receiver's timeout, modem polling and how long a character device waits
 * for the end of a burst (chardev/burst.c) follow the baud rate. When the back end is full, the
 * transmitter stays busy until it has room.
 *
 * Not done: DMA modes (FCR bit 3 is kept, nothing follows from it), parity and framing errors (a
 * back end has none), stick parity.
 */
#include "hw/char/serial.h"

#include <sys/ioctl.h>

#include "util/trace.h"

enum {
    IER_RDI = 0x01,
    IER_THRI = 0x02,
    IER_RLSI = 0x04,
    IER_MSI = 0x08,
    IIR_NO_INT = 0x01,
    IIR_MSI = 0x00,
    IIR_THRI = 0x02,
    IIR_RDI = 0x04,
    IIR_RLSI = 0x06,
    IIR_CTI = 0x0c,
    IIR_ID_MASK = 0x06,
    IIR_FIFO = 0xc0,
    FCR_ENABLE = 0x01,
    FCR_RESET_RECV = 0x02,
    FCR_RESET_XMIT = 0x04,
    FCR_KEPT = 0xc9,
    LCR_STOP = 0x04,
    LCR_PARITY = 0x08,
    LCR_EVEN = 0x10,
    LCR_BREAK = 0x40,
    LCR_DLAB = 0x80,
    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_MASK = 0x1f,
    LSR_DR = 0x01,
    LSR_OE = 0x02,
    LSR_BI = 0x10,
    LSR_THRE = 0x20,
    LSR_TEMT = 0x40,
    LSR_ERRORS = 0x1e,
    MSR_DCTS = 0x01,
    MSR_DDSR = 0x02,
    MSR_TERI = 0x04,
    MSR_DDCD = 0x08,
    MSR_DELTAS = 0x0f,
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

#define MAX_XMIT_RETRY 4
#define MODEM_POLL_TIME (10 * NSEC_PER_MSEC)
#define DEFAULT_DIVIDER 12 /* 9600 baud */

static bool fifo_enabled(const Serial *s) { return s->fcr & FCR_ENABLE; }
static int64_t now(const Serial *s) { return clock_now(s->dev->vm, CLOCK_VIRTUAL); }

/* ---- interrupts -------------------------------------------------------------------- */

/* The most urgent interrupt that is enabled and pending: table II of the data sheet. */
static uint8_t pending_interrupt(const Serial *s)
{
    if ((s->ier & IER_RLSI) && (s->lsr & LSR_ERRORS)) {
        return IIR_RLSI;
    }
    if ((s->ier & IER_RDI) && s->timeout_ipending) {
        return IIR_CTI;
    }
    if ((s->ier & IER_RDI) && (s->lsr & LSR_DR) &&
        (!fifo_enabled(s) || s->recv_fifo.count >= s->recv_trigger)) {
        return IIR_RDI;
    }
    if ((s->ier & IER_THRI) && s->thr_ipending) {
        return IIR_THRI;
    }
    if ((s->ier & IER_MSI) && (s->msr & MSR_DELTAS)) {
        return IIR_MSI;
    }
    return IIR_NO_INT;
}

static void update_irq(Serial *s)
{
    uint8_t id = pending_interrupt(s);

    s->iir = id | (s->iir & 0xf0);
    irq_set_level(s->irq, id != IIR_NO_INT);
}

/*
 * A byte was written to THR: that takes the "transmitter empty" interrupt back, and as the byte is
 * out at once, it is pending again right away: a short low on an edge-triggered line. A guest that
 * acts on IIR needs no new edge, as the interrupt that it was not yet told of is still latched, and
 * the one that it was told of ended when it read IIR; so the line stays and a byte costs no call
 * into the kernel. A guest that never reads IIR would wait for the edge, and gets it.
 */
static void take_thr_irq_back(Serial *s)
{
    s->thr_ipending = 0;
    if (!s->thr_acked) {
        update_irq(s);
    }
}

/* ---- line parameters and modem lines ----------------------------------------------- */

static void update_line(Serial *s)
{
    CharLine line = {
        .parity = !(s->lcr & LCR_PARITY) ? 'N' : s->lcr & LCR_EVEN ? 'E' : 'O',
        .data_bits = (s->lcr & 3) + 5,
        .stop_bits = s->lcr & LCR_STOP ? 2 : 1,
    };
    int frame = 1 + line.data_bits + (line.parity != 'N') + line.stop_bits;

    /* Divisor 0 stops the clock; above the base clock there is less than one bit a second. */
    if (s->divider == 0 || s->divider > s->baudbase) {
        return;
    }
    line.speed = (int)(s->baudbase / s->divider);
    s->char_time = NSEC_PER_SEC / line.speed * frame;
    trace(serial_line, "%d baud, parity %c, %d data bits, %d stop bits", line.speed, line.parity,
          line.data_bits, line.stop_bits);
    charport_set_line(s->chr, &line);
}

static void update_modem_status(Serial *s)
{
    uint8_t old = s->msr;
    int lines;

    if (!charport_get_modem(s->chr, &lines)) {
        s->poll_msl = -1;
        return;
    }
    s->msr = (uint8_t)((s->msr & MSR_DELTAS) | (lines & TIOCM_CTS ? MSR_CTS : 0) |
                       (lines & TIOCM_DSR ? MSR_DSR : 0) | (lines & TIOCM_RNG ? MSR_RI : 0) |
                       (lines & TIOCM_CAR ? MSR_DCD : 0));
    if (s->msr != old) {
        s->msr |= (uint8_t)(((s->msr ^ old) >> 4) & (MSR_DCTS | MSR_DDSR | MSR_DDCD));
        s->msr |= (uint8_t)((old & MSR_RI) && !(s->msr & MSR_RI) ? MSR_TERI : 0);
        update_irq(s);
    }
    if (s->poll_msl == 1) {
        timer_arm(&s->modem_status_poll, now(s) + MODEM_POLL_TIME);
    }
}

static void modem_poll_fired(void *opaque)
{
    update_modem_status(opaque);
}

static void set_host_modem(Serial *s)
{
    int lines;

    if (charport_get_modem(s->chr, &lines)) {
        lines &= ~(TIOCM_RTS | TIOCM_DTR);
        lines |= (s->mcr & MCR_RTS ? TIOCM_RTS : 0) | (s->mcr & MCR_DTR ? TIOCM_DTR : 0);
        charport_set_modem(s->chr, lines);
        /* The other side may answer within a character's time. */
        timer_arm(&s->modem_status_poll, now(s) + s->char_time);
    }
}

/* ---- receiver ---------------------------------------------------------------------- */

static void push_received(Serial *s, uint8_t byte)
{
    if (!fifo8_push(&s->recv_fifo, byte)) {
        s->lsr |= LSR_OE; /* what is in the FIFO stays */
    }
}

static void receive_bytes(Serial *s, const uint8_t *data, size_t len)
{
    if (s->wakeup) {
        vm_request_wakeup(s->dev->vm);
    }
    if (fifo_enabled(s)) {
        for (size_t i = 0; i < len; i++) {
            push_received(s, data[i]);
        }
        s->lsr |= LSR_DR;
        timer_arm(&s->fifo_timeout_timer, now(s) + 4 * s->char_time);
    } else if (len) {
        s->lsr |= s->lsr & LSR_DR ? LSR_OE : 0;
        s->rbr = data[len - 1];
        s->lsr |= LSR_DR;
    }
}

static size_t serial_can_receive(void *opaque)
{
    Serial *s = opaque;

    if (s->mcr & MCR_LOOP) {
        return 0;
    }
    if (!fifo_enabled(s)) {
        return !(s->lsr & LSR_DR);
    }
    if (s->recv_fifo.count < s->recv_trigger) {
        return s->recv_trigger - s->recv_fifo.count;
    }
    /* Above the trigger level byte by byte: the guest's handler empties the FIFO in its own pace.
     */
    return !fifo8_is_full(&s->recv_fifo);
}

static void serial_receive(void *opaque, const uint8_t *data, size_t len)
{
    Serial *s = opaque;

    receive_bytes(s, data, len);
    update_irq(s);
}

static void serial_event(void *opaque, CharEvent event)
{
    Serial *s = opaque;

    trace(serial_event, "event %d", event);
    if (event == CHAR_EVENT_BREAK) {
        s->rbr = 0;
        push_received(s, 0);
        s->lsr |= LSR_BI | LSR_DR;
        update_irq(s);
    }
}

/* Bytes stand below the trigger level and no new one came for four characters' time. */
static void fifo_timeout_fired(void *opaque)
{
    Serial *s = opaque;

    if (!fifo8_is_empty(&s->recv_fifo)) {
        s->timeout_ipending = 1;
        update_irq(s);
    }
}

static uint8_t read_rbr(Serial *s)
{
    uint8_t value = 0;

    if (fifo_enabled(s)) {
        fifo8_pop(&s->recv_fifo, &value);
        if (fifo8_is_empty(&s->recv_fifo)) {
            s->lsr &= (uint8_t)~(LSR_DR | LSR_BI);
            timer_cancel(&s->fifo_timeout_timer);
        } else {
            timer_arm(&s->fifo_timeout_timer, now(s) + 4 * s->char_time);
        }
        s->timeout_ipending = 0;
    } else {
        value = s->rbr;
        s->lsr &= (uint8_t)~(LSR_DR | LSR_BI);
    }
    update_irq(s);
    charport_accept_input(s->chr);
    return value;
}

/* ---- transmitter ------------------------------------------------------------------- */

/* The next byte goes from the FIFO or THR into the shift register. */
static void load_tsr(Serial *s)
{
    if (fifo_enabled(s)) {
        fifo8_pop(&s->xmit_fifo, &s->tsr);
    } else {
        s->tsr = s->thr;
    }
    if (!fifo_enabled(s) || fifo8_is_empty(&s->xmit_fifo)) {
        s->lsr |= LSR_THRE;
        s->thr_ipending = 1;
    }
}

/* Sends until nothing is left (true) or the back end is full. The caller updates the interrupt. */
static bool transmit(Serial *s)
{
    for (;;) {
        if (s->tsr_retry == 0) {
            if (s->lsr & LSR_THRE) {
                break;
            }
            load_tsr(s);
        }
        if (s->mcr & MCR_LOOP) {
            receive_bytes(s, &s->tsr, 1);
        } else if (charport_write(s->chr, &s->tsr, 1) == 0 && s->tsr_retry < MAX_XMIT_RETRY) {
            s->tsr_retry++;
            return false;
        }
        s->tsr_retry = 0;
    }
    s->lsr |= LSR_TEMT;
    return true;
}

/* The back end has room again. */
static void transmit_again(void *opaque)
{
    Serial *s = opaque;

    if (s->tsr_retry) {
        if (!transmit(s)) {
            charport_on_writable(s->chr, transmit_again, s);
        }
        update_irq(s);
    }
}

static void write_thr(Serial *s, uint8_t value)
{
    s->thr = value;
    if (fifo_enabled(s)) {
        uint8_t lost;

        if (fifo8_is_full(&s->xmit_fifo)) {
            fifo8_pop(&s->xmit_fifo, &lost);
        }
        fifo8_push(&s->xmit_fifo, value);
    }
    s->lsr &= (uint8_t)~(LSR_THRE | LSR_TEMT);
    take_thr_irq_back(s);
    if (s->tsr_retry == 0 && !transmit(s)) {
        charport_on_writable(s->chr, transmit_again, s);
    }
    update_irq(s);
}

/* ---- registers --------------------------------------------------------------------- */

static void write_ier(Serial *s, uint8_t value)
{
    uint8_t changed = (s->ier ^ value) & 0x0f;

    s->ier = value & 0x0f;
    if ((changed & IER_MSI) && s->poll_msl >= 0) {
        s->poll_msl = (s->ier & IER_MSI) != 0;
        if (s->poll_msl) {
            update_modem_status(s);
        } else {
            timer_cancel(&s->modem_status_poll);
        }
    }
    if (changed & IER_THRI) {
        /* Enabling it while THR is empty interrupts, even if that was seen before: not in the data
         * sheet, but so do the chips, and drivers rely on it. */
        s->thr_ipending = (s->ier & IER_THRI) && (s->lsr & LSR_THRE);
        s->thr_acked = false;
    }
    if (changed) {
        update_irq(s);
    }
}

/* The part of a write to FCR that stays. */
static void set_fcr(Serial *s, uint8_t value)
{
    static const uint8_t trigger[4] = {1, 4, 8, 14};

    s->fcr = value & FCR_KEPT;
    s->recv_trigger = trigger[value >> 6];
    s->iir = (uint8_t)((s->iir & ~IIR_FIFO) | (fifo_enabled(s) ? IIR_FIFO : 0));
}

static void write_fcr(Serial *s, uint8_t value)
{
    if ((value ^ s->fcr) & FCR_ENABLE) {
        value |= FCR_RESET_RECV | FCR_RESET_XMIT;
    }
    if (value & FCR_RESET_RECV) {
        s->lsr &= (uint8_t)~(LSR_DR | LSR_BI);
        timer_cancel(&s->fifo_timeout_timer);
        s->timeout_ipending = 0;
        fifo8_reset(&s->recv_fifo);
    }
    if (value & FCR_RESET_XMIT) {
        s->lsr |= LSR_THRE;
        s->thr_ipending = 1;
        s->thr_acked = false;
        fifo8_reset(&s->xmit_fifo);
    }
    set_fcr(s, value);
    update_irq(s);
    charport_accept_input(s->chr);
}

static void write_lcr(Serial *s, uint8_t value)
{
    bool break_on = value & LCR_BREAK;

    s->lcr = value;
    update_line(s);
    if (break_on != s->break_on) {
        s->break_on = break_on;
        charport_send_break(s->chr, break_on);
    }
}

static void write_mcr(Serial *s, uint8_t value)
{
    uint8_t old = s->mcr;

    s->mcr = value & MCR_MASK;
    if (s->mcr & MCR_LOOP) {
        return;
    }
    if (s->poll_msl >= 0 && old != s->mcr) {
        set_host_modem(s);
    }
    if (old & MCR_LOOP) {
        charport_accept_input(s->chr);
    }
}

static void set_divider(Serial *s, uint16_t divider)
{
    s->divider = divider;
    update_line(s);
}

static void serial_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Serial *s = opaque;
    uint8_t byte = (uint8_t)value;
    bool dlab = s->lcr & LCR_DLAB;

    trace(serial_write, "register %u value 0x%02x", (unsigned)offset, byte);
    switch (offset) {
    case 0:
        if (dlab) {
            set_divider(s, (uint16_t)((s->divider & 0xff00) | byte));
        } else {
            write_thr(s, byte);
        }
        break;
    case 1:
        if (dlab) {
            set_divider(s, (uint16_t)((s->divider & 0x00ff) | byte << 8));
        } else {
            write_ier(s, byte);
        }
        break;
    case 2:
        write_fcr(s, byte);
        break;
    case 3:
        write_lcr(s, byte);
        break;
    case 4:
        write_mcr(s, byte);
        break;
    case 7:
        s->scr = byte;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
}

static uint8_t read_iir(Serial *s)
{
    uint8_t value = s->iir;

    if ((value & 0x0f) == IIR_THRI) {
        s->thr_ipending = 0;
        s->thr_acked = true;
        update_irq(s);
    }
    return value;
}

static uint8_t read_lsr(Serial *s)
{
    uint8_t value = s->lsr;

    if (value & (LSR_BI | LSR_OE)) {
        s->lsr &= (uint8_t)~(LSR_BI | LSR_OE);
        update_irq(s);
    }
    return value;
}

/* In loopback the outputs of MCR are the inputs: OUT2 DCD, OUT1 RI, DTR DSR, RTS CTS. */
static uint8_t read_msr(Serial *s)
{
    uint8_t value;

    if (s->mcr & MCR_LOOP) {
        return (uint8_t)((s->mcr & 0x0c) << 4 | (s->mcr & MCR_RTS) << 3 | (s->mcr & MCR_DTR) << 5);
    }
    if (s->poll_msl >= 0) {
        update_modem_status(s);
    }
    value = s->msr;
    if (value & MSR_DELTAS) {
        s->msr &= 0xf0;
        update_irq(s);
    }
    return value;
}

static uint8_t read_register(Serial *s, unsigned reg)
{
    bool dlab = s->lcr & LCR_DLAB;

    switch (reg) {
    case 0:
        return dlab ? (uint8_t)s->divider : read_rbr(s);
    case 1:
        return dlab ? (uint8_t)(s->divider >> 8) : s->ier;
    case 2:
        return read_iir(s);
    case 3:
        return s->lcr;
    case 4:
        return s->mcr;
    case 5:
        return read_lsr(s);
    case 6:
        return read_msr(s);
    default:
        return s->scr;
    }
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
    uint8_t value = read_register(opaque, (unsigned)offset);

    trace(serial_read, "register %u value 0x%02x", (unsigned)offset, value);
    return value;
}

static const RegionOps serial_ops = {
    .read = serial_read,
    .write = serial_write,
    .valid = {.min_size = 1, .max_size = 4, .unaligned = true},
    .impl = {.min_size = 1, .max_size = 1},
};

static const CharPortOps serial_port_ops = {
    .can_receive = serial_can_receive,
    .receive = serial_receive,
    .event = serial_event,
};

/* ---- lifecycle --------------------------------------------------------------------- */

void serial_reset(Serial *s)
{
    s->divider = DEFAULT_DIVIDER;
    s->rbr = s->thr = s->tsr = 0;
    s->ier = s->lcr = s->scr = 0;
    s->iir = IIR_NO_INT;
    s->mcr = MCR_OUT2;
    s->lsr = LSR_THRE | LSR_TEMT;
    s->msr = MSR_DCD | MSR_DSR | MSR_CTS;
    s->thr_ipending = s->timeout_ipending = 0;
    s->tsr_retry = 0;
    s->thr_acked = false;
    s->poll_msl = 0;
    fifo8_reset(&s->recv_fifo);
    fifo8_reset(&s->xmit_fifo);
    timer_cancel(&s->fifo_timeout_timer);
    timer_cancel(&s->modem_status_poll);
    charport_on_writable(s->chr, NULL, NULL);
    set_fcr(s, 0);
    s->char_time = NSEC_PER_SEC / 9600 * 10;
    if (s->break_on) {
        s->break_on = false;
        charport_send_break(s->chr, false);
    }
    update_modem_status(s);
    s->msr &= 0xf0;
    irq_set_level(s->irq, 0);
    charport_accept_input(s->chr);
}

void serial_realize(Serial *s, Device *dev)
{
    s->dev = dev;
    fifo8_init(&s->recv_fifo, s->recv_data, SERIAL_FIFO_SIZE);
    fifo8_init(&s->xmit_fifo, s->xmit_data, SERIAL_FIFO_SIZE);
    timer_init(&s->fifo_timeout_timer, dev->vm, CLOCK_VIRTUAL, fifo_timeout_fired, s);
    timer_init(&s->modem_status_poll, dev->vm, CLOCK_VIRTUAL, modem_poll_fired, s);
    region_init_io(&s->regs, &serial_ops, s, "serial", 8);
    charport_set_ops(s->chr, &serial_port_ops, s);
    serial_reset(s);
}

void serial_unrealize(Serial *s)
{
    timer_cancel(&s->fifo_timeout_timer);
    timer_cancel(&s->modem_status_poll);
    charport_on_writable(s->chr, NULL, NULL);
    charport_set_ops(s->chr, NULL, NULL);
    region_remove(&s->regs);
    region_destroy(&s->regs);
}

/* ---- state ------------------------------------------------------------------------- */

static bool thr_ipending_needed(void *obj)
{
    const Serial *s = obj;

    /* While IER masks it, it will be sampled anew when the guest enables it. */
    return (s->ier & IER_THRI) && s->thr_ipending != ((s->iir & IIR_ID_MASK) == IIR_THRI);
}

static bool tsr_needed(void *obj) { return ((Serial *)obj)->tsr_retry != 0; }
static bool recv_fifo_needed(void *obj) { return !fifo8_is_empty(&((Serial *)obj)->recv_fifo); }
static bool xmit_fifo_needed(void *obj) { return !fifo8_is_empty(&((Serial *)obj)->xmit_fifo); }
static bool fifo_timeout_needed(void *obj)
{
    return timer_pending(&((Serial *)obj)->fifo_timeout_timer);
}
static bool timeout_ipending_needed(void *obj) { return ((Serial *)obj)->timeout_ipending != 0; }
static bool poll_needed(void *obj) { return ((Serial *)obj)->poll_msl >= 0; }

static void serial_pre_save(void *obj)
{
    Serial *s = obj;

    s->fcr_vmstate = s->fcr;
}

static bool serial_pre_load(void *obj, GError **err)
{
    Serial *s = obj;

    STATE_KEEP(s->thr_ipending);
    STATE_KEEP(s->poll_msl);
    STATE_KEEP(s->tsr_retry);
    STATE_KEEP(s->timeout_ipending);
    STATE_KEEP(s->thr_acked);
    STATE_KEEP(s->recv_fifo);
    STATE_KEEP(s->xmit_fifo);
    s->thr_ipending = -1;
    s->poll_msl = -1;
    s->tsr_retry = 0;
    s->timeout_ipending = 0;
    s->thr_acked = false;
    fifo8_reset(&s->recv_fifo);
    fifo8_reset(&s->xmit_fifo);
    state_cancel_timer(&s->fifo_timeout_timer);
    state_cancel_timer(&s->modem_status_poll);
    return true;
}

static bool serial_post_load(void *obj, unsigned version, GError **err)
{
    Serial *s = obj;

    if (s->tsr_retry && (s->lsr & LSR_TEMT)) {
        return error_set(err,
                         "the transmitter is empty (lsr 0x%02x) and busy (tsr_retry %u) at once",
                         s->lsr, s->tsr_retry);
    }
    if (!s->tsr_retry && !(s->lsr & LSR_TEMT)) {
        return error_set(
            err, "the transmitter holds a byte (lsr 0x%02x) that is not there (tsr_retry 0)",
            s->lsr);
    }
    if (s->thr_ipending == -1) {
        s->thr_ipending = (s->iir & IIR_ID_MASK) == IIR_THRI;
    }
    set_fcr(s, version < 3 ? 0 : s->fcr_vmstate);
    s->break_on = s->lcr & LCR_BREAK;
    update_line(s);
    if (s->tsr_retry) {
        charport_on_writable(s->chr, transmit_again, s);
    }
    charport_accept_input(s->chr);
    return true;
}

static const StateField fifo8_fields[] = {
    {.name = "data",
     .kind = &state_kind_buffer,
     .offset = offsetof(Fifo8, data),
     .size = SERIAL_FIFO_SIZE,
     .stride = SERIAL_FIFO_SIZE,
     .count = 1,
     .pointer = true},
    STATE_U32(Fifo8, head, .max = SERIAL_FIFO_SIZE - 1),
    STATE_U32(Fifo8, count, .name = "num", .max = SERIAL_FIFO_SIZE),
    {}
};
static const StateDesc fifo8_state = {
    .name = "Fifo8", .version = 1, .min_version = 1, .fields = fifo8_fields};

#define SERIAL_SUBSECTION(ident, wire_name, need, ...)                                             \
    static const StateField ident##_fields[] = {__VA_ARGS__, {}};                                  \
    static const StateDesc ident##_state = {.name = "serial/" wire_name,                           \
                                            .version = 1,                                          \
                                            .min_version = 1,                                      \
                                            .needed = need,                                        \
                                            .fields = ident##_fields}

SERIAL_SUBSECTION(thr_ipending, "thr_ipending", thr_ipending_needed,
                  STATE_I32(Serial, thr_ipending, .max = 1));
SERIAL_SUBSECTION(tsr, "tsr", tsr_needed, STATE_U32(Serial, tsr_retry, .max = MAX_XMIT_RETRY),
                  STATE_U8(Serial, thr), STATE_U8(Serial, tsr));
SERIAL_SUBSECTION(recv_fifo, "recv_fifo", recv_fifo_needed,
                  STATE_STRUCT(Serial, recv_fifo, &fifo8_state));
SERIAL_SUBSECTION(xmit_fifo, "xmit_fifo", xmit_fifo_needed,
                  STATE_STRUCT(Serial, xmit_fifo, &fifo8_state));
SERIAL_SUBSECTION(fifo_timeout, "fifo_timeout_timer", fifo_timeout_needed,
                  STATE_TIMER(Serial, fifo_timeout_timer));
SERIAL_SUBSECTION(timeout_ipending, "timeout_ipending", timeout_ipending_needed,
                  STATE_I32(Serial, timeout_ipending, .max = 1));
SERIAL_SUBSECTION(poll, "poll", poll_needed,
                  STATE_I32(Serial, poll_msl, .min = (uint64_t)-1, .max = 1),
                  STATE_TIMER(Serial, modem_status_poll));

static const StateDesc *const serial_subsections[] = {
    &thr_ipending_state, &tsr_state, &recv_fifo_state, &xmit_fifo_state, &fifo_timeout_state,
    &timeout_ipending_state, &poll_state, NULL,
};

static const StateField serial_fields[] = {
    STATE_U16(Serial, divider, .since = 2),
    STATE_U8(Serial, rbr),
    STATE_U8(Serial, ier, .max = 0x0f),
    STATE_U8(Serial, iir),
    STATE_U8(Serial, lcr),
    STATE_U8(Serial, mcr, .max = MCR_MASK),
    STATE_U8(Serial, lsr),
    STATE_U8(Serial, msr),
    STATE_U8(Serial, scr),
    STATE_U8(Serial, fcr_vmstate, .since = 3),
    {}
};

const StateDesc serial_state = {
    .name = "serial",
    .version = 3,
    .min_version = 2,
    .fields = serial_fields,
    .subsections = serial_subsections,
    .pre_save = serial_pre_save,
    .pre_load = serial_pre_load,
    .post_load = serial_post_load,
};
