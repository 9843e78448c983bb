/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest server: a test drives the machine's ports, memory, interrupt pins and virtual clock
 * through a character device (-qtest). It works with every accelerator; clock commands exist only
 * under the qtest accelerator.
 *
 * Requests are lines, words separated by one space; each gets one reply line, OK or FAIL:
 *
 *   outb|outw|outl ADDR VALUE        inb|inw|inl ADDR
 *   writeb|w|l|q ADDR VALUE          readb|w|l|q ADDR
 *   write ADDR SIZE 0xHEX            read ADDR SIZE
 *   b64write ADDR SIZE BASE64        b64read ADDR SIZE           memset ADDR SIZE VALUE
 *   clock_step [NS]                  clock_set NS                endianness
 *   irq_intercept_in PATH            irq_intercept_out PATH
 *   set_irq_in PATH NAME N LEVEL     module_load PREFIX NAME
 *   state_save PATH                  state_load PATH             (ours; QEMU has no such requests,
 *   dirty_log on|off                 dirty_pages                  nor these)
 *
 * state_save stops the machine for a moment and writes its state to a file, as QEMU's stream
 * without RAM; state_load takes such a file, or answers FAIL with the section, the field and the
 * reason (the machine is then good for a reset or for nothing). Like the clock's, these requests
 * exist only under the qtest accelerator. dirty_pages answers with the addresses of the pages of RAM
 * that were written since the last one; dirty_log on comes first.
 *
 * "IRQ raise N" and "IRQ lower N" come by themselves: a pin's line precedes the reply of the
 * request that moved it.
 */
#ifndef SYSTEM_QTEST_SERVER_H
#define SYSTEM_QTEST_SERVER_H

#include "core/vm.h"

/*
 * chardev_spec: a legacy character device text ("unix:PATH", "stdio", ...). log_path: where
 * requests and replies are written; NULL: stderr; "none": nowhere. One per VM; it lasts as long as
 * /objects/qtest.
 */
bool qtest_server_start(Vm *vm, const char *chardev_spec, const char *log_path, GError **err);

#endif
