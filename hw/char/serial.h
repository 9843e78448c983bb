/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A UART core, for buses to embed: 8 byte-wide registers, one interrupt line, one
 * CharPort. Spec: National Semiconductor PC16550D data sheet.
 */
#ifndef HW_CHAR_SERIAL_H
#define HW_CHAR_SERIAL_H

#include "chardev/char.h"
#include "core/vm.h"
#include "util/fifo.h"

#define SERIAL_FIFO_SIZE 16

typedef struct Serial {
    Device *dev;             /* the device that embeds it */
    Irq *irq;                /* where the interrupt goes; NULL: nowhere */
    CharPort *chr;           /* property "chardev"; NULL: nobody is connected */
    uint32_t baudbase;       /* property: input clock / 16, Hz */
    bool wakeup;             /* property: a received byte wakes the machine */
    Region regs;             /* 8 ports */
    /* ---- registers ---- */
    uint16_t divider;        /* DLL and DLM */
    uint8_t rbr, thr, tsr;   /* receiver, transmitter holding and shift registers */
    uint8_t ier, iir, lcr, mcr, lsr, msr, scr;
    uint8_t fcr;             /* the bits that last: enable and trigger level */
    uint8_t fcr_vmstate;     /* fcr on the wire */
    /* ---- behind them ---- */
    int32_t thr_ipending;    /* the "transmitter empty" interrupt waits to be seen */
    int32_t timeout_ipending; /* the "character timeout" one does */
    uint32_t tsr_retry; /* tsr is full because the back end does not take it; attempts so far */
    uint8_t recv_trigger;    /* bytes in recv_fifo that raise the interrupt */
    bool thr_acked; /* the guest reads IIR to see the transmitter's interrupt; see update_thr_irq */
    bool break_on;           /* a break is being sent */
    Fifo8 recv_fifo, xmit_fifo;
    uint8_t recv_data[SERIAL_FIFO_SIZE], xmit_data[SERIAL_FIFO_SIZE];
    int64_t char_time;       /* ns that one character takes on the line */
    Timer fifo_timeout_timer;
    int32_t
        poll_msl; /* modem lines of the host: -1 there are none, 1 polled, 0 looked at when read */
    Timer modem_status_poll;
} Serial;

/* irq is set by the caller before. region name: "serial". */
void serial_realize(Serial *s, Device *dev);
void serial_unrealize(Serial *s);
void serial_reset(Serial *s);
/* QEMU 7.2's "serial" version 3 with its subsections. */
extern const StateDesc serial_state;

/* Rows for the property table of a device whose Serial is field f. */
#define SERIAL_PROPS(st, f)                                                                        \
    PROP_CHARDEV("chardev", st, f.chr, .help = "character device at the other end of the line"),   \
    PROP_U32("baudbase", st, f.baudbase, .def = 115200, .min = 1,                                  \
             .help = "bits per second at divisor 1"),                                              \
    PROP_BOOL("wakeup", st, f.wakeup, .help = "received bytes wake a sleeping machine")

#endif
