/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small client of the qtest protocol, for GTest programs: it starts the emulator under the qtest
 * accelerator (no CPU runs, the virtual clock stands at 0 until it is stepped) and drives devices
 * by ports, memory and clock steps.
 *
 *     static void test_something(void)
 *     {
 *         QTest *qt = qtest_start("-machine pc -m 32 -nodefaults");
 *
 *         qtest_outb(qt, 0x70, 0x0d);
 *         g_assert_cmphex(qtest_inb(qt, 0x71), ==, 0x80);
 *         qtest_end(qt);
 *     }
 *
 * Every call that gets an unexpected answer, or none, ends the test program with the request and
 * the emulator's fate in the message. There is no time limit as such: a call gives up only when the
 * emulator neither answers nor uses processor time for a long while.
 *
 * Environment: KILN_SYSTEM names the program (meson sets it); QTEST_LOG=1 shows the protocol on
 * stderr; QTEST_ARGS is put before the test's own arguments; QTEST_DIRTY_LOG=1 switches dirty
 * logging on from the start.
 */
#ifndef TESTS_QTEST_LIBQTEST_H
#define TESTS_QTEST_LIBQTEST_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct QTest QTest;

/* ---- life ------------------------------------------------------------------------------- */

/* Starts the emulator with these arguments (as a shell would split them) and connects. */
QTest *qtest_start(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* SIGTERM; the exit status must be 0. Frees. */
void qtest_end(QTest *qt);
/* Waits for the emulator to end by itself (isa-debug-exit, S5 ...) and gives its exit status; -1
 * when a signal killed it. qtest_end then only frees. */
int qtest_wait_exit(QTest *qt);
/* Is it still running? */
bool qtest_is_alive(QTest *qt);
/* Runs the emulator to its end (no qtest connection): for refused arguments. Returns the exit
 * status (-1: killed by a signal); *out and *err_out (each may be NULL) are the caller's to
 * free. */
int qtest_run(const char *args, char **out, char **err_out);
/* Runs the emulator once a row, on a PC without default devices, with `before` and the row's
 * arguments: it must end with status 1 and the row's second text in its message. */
void qtest_expect_refused(const char *before, const char *const (*rows)[2], size_t count);

/* Sends one request line (no newline) and returns the reply line, the caller's to free. The reply
 * may be FAIL. */
char *qtest_request(QTest *qt, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Sends bytes as they are, and reads one reply line: for malformed and partial input. */
void qtest_send_raw(QTest *qt, const void *data, size_t len);
char *qtest_read_reply(QTest *qt);

/* Sends several request lines, each with its newline, at once; every reply must be OK and is
 * dropped. */
void qtest_batch(QTest *qt, const char *lines);

/* ---- ports and memory; values in the guest's byte order (little-endian) ----------------- */

void qtest_outb(QTest *qt, uint16_t port, uint8_t value);
void qtest_outw(QTest *qt, uint16_t port, uint16_t value);
void qtest_outl(QTest *qt, uint16_t port, uint32_t value);
uint8_t qtest_inb(QTest *qt, uint16_t port);
uint16_t qtest_inw(QTest *qt, uint16_t port);
uint32_t qtest_inl(QTest *qt, uint16_t port);

/* One access of that size. */
void qtest_writeb(QTest *qt, uint64_t addr, uint8_t value);
void qtest_writew(QTest *qt, uint64_t addr, uint16_t value);
void qtest_writel(QTest *qt, uint64_t addr, uint32_t value);
void qtest_writeq(QTest *qt, uint64_t addr, uint64_t value);
uint8_t qtest_readb(QTest *qt, uint64_t addr);
uint16_t qtest_readw(QTest *qt, uint64_t addr);
uint32_t qtest_readl(QTest *qt, uint64_t addr);
uint64_t qtest_readq(QTest *qt, uint64_t addr);

/* Any length; b64 on the wire for long ones. */
void qtest_memread(QTest *qt, uint64_t addr, void *buf, size_t len);
void qtest_memwrite(QTest *qt, uint64_t addr, const void *buf, size_t len);
void qtest_memset(QTest *qt, uint64_t addr, uint8_t value, size_t len);

/* ---- the virtual clock; each returns the clock afterwards, ns --------------------------- */

/* To the next pending deadline (no timer: stays). */
int64_t qtest_clock_step_next(QTest *qt);
/* By so many ns, running each timer at its own time. */
int64_t qtest_clock_step(QTest *qt, int64_t ns);
int64_t qtest_clock_set(QTest *qt, int64_t ns);

/* ---- interrupt pins --------------------------------------------------------------------- */

/* Reports level changes of the unnamed inputs (outputs) of the object at this path; one object per
 * run. "ioapic" shows every GSI of the PC: ISA line n is pin n, the timer pin 0. */
void qtest_irq_intercept_in(QTest *qt, const char *path);
void qtest_irq_intercept_out(QTest *qt, const char *path);
/* The level of intercepted pin n (0 to 255). */
bool qtest_get_irq(QTest *qt, unsigned n);
/* How often it was raised since the start or since qtest_clear_irq_count: also catches pulses. */
unsigned qtest_irq_count(QTest *qt, unsigned n);
void qtest_clear_irq_count(QTest *qt, unsigned n);
/* Drives an input pin: name NULL for the unnamed ones. */
void qtest_set_irq_in(QTest *qt, const char *path, const char *name, unsigned n, int level);

/* ---- PCI, through ports cf8h and cfch, bus 0 -------------------------------------------- */

#define QPCI_DEVFN(slot, function) ((slot) << 3 | (function))

uint8_t qpci_read_config8(QTest *qt, unsigned devfn, uint8_t offset);
uint16_t qpci_read_config16(QTest *qt, unsigned devfn, uint8_t offset);
uint32_t qpci_read_config32(QTest *qt, unsigned devfn, uint8_t offset);
void qpci_write_config8(QTest *qt, unsigned devfn, uint8_t offset, uint8_t value);
void qpci_write_config16(QTest *qt, unsigned devfn, uint8_t offset, uint16_t value);
void qpci_write_config32(QTest *qt, unsigned devfn, uint8_t offset, uint32_t value);
/* The index-th function with these ids (as lspci writes them) on bus 0, its devfn; -1: none. */
int qpci_find(QTest *qt, uint16_t vendor, uint16_t device, unsigned index);
/* Sizes BAR n (its size to *size, may be NULL), gives it an address of its own above 0xc000 (ports)
 * or 0xe0000000 (memory), and turns on decoding. Returns the address; the BAR must exist. */
uint64_t qpci_map_bar(QTest *qt, unsigned devfn, unsigned n, uint64_t *size);
/* Sets bits of the command register (2 memory, 1 ports, 4 bus master). */
void qpci_enable(QTest *qt, unsigned devfn, uint16_t bits);
/* Offset of the capability with this id, 0: none. */
uint8_t qpci_find_capability(QTest *qt, unsigned devfn, uint8_t id);

/* ---- dirty logging ---------------------------------------------------------------------- */

/* For all RAM that the guest sees; bits of earlier writes are forgotten. */
void qtest_dirty_log(QTest *qt, bool on);
/* Addresses of the pages that were written since the last call, ascending, as text: "0x1000 0x2000".
 * The caller frees. */
char *qtest_dirty_pages(QTest *qt);

/* ---- helpers ---------------------------------------------------------------------------- */

/* Guest RAM for the test's own structures: from 1 MiB up, never given back. align: a power of
 * two. */
uint64_t qtest_alloc(QTest *qt, size_t len, size_t align);
/* A file of this size (sparse when data is NULL) in the temporary directory, removed at the end
 * of the program. The caller frees the path. */
char *qtest_temp_file(const void *data, uint64_t size);

#endif
