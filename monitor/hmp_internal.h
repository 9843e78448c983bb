/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between monitor/hmp*.c: the tables and the arguments' reader. */
#ifndef MONITOR_HMP_INTERNAL_H
#define MONITOR_HMP_INTERNAL_H

#include "monitor/hmp.h"
#include "monitor/qmp.h"

typedef struct Cpu Cpu;

/* NULL with *err, in QEMU's words. declaration NULL: no arguments. */
HmpArgs *hmp_args_parse(HmpCall *call, const char *declaration, const char *text, GError **err);
void hmp_args_free(HmpArgs *args);
/* "device [format]"; the caller frees. */
char *hmp_args_describe(const char *declaration);

/* Tables, each ended by {}; listed in monitor/hmp.c. */
extern const HmpCommand hmp_base_commands[],
    hmp_block_commands[],
    hmp_char_commands[],
    hmp_cpu_commands[],
    hmp_export_commands[],
    hmp_info_commands[],
    hmp_input_commands[],
    hmp_interrupt_commands[],
    hmp_io_commands[],
    hmp_machine_commands[],
    hmp_mce_commands[],
    hmp_memory_commands[],
    hmp_net_commands[],
    hmp_objects_commands[],
    hmp_paging_commands[],
    hmp_pci_commands[],
    hmp_run_commands[],
    hmp_stats_commands[],
    hmp_trace_commands[];

/* Calls a QMP handler with its argument struct (NULL: none) and prints its error. Its result is not looked at. */
void hmp_call_qmp(HmpCall *call, QmpHandler *handler, const void *args);

/* nbd-server-start: done (err: the callee's; NULL: it runs) runs once, before this returns or later in the main loop. */
void monitor_start_nbd_server(QmpCall *call, void (*done)(void *opaque, GError *err), void *opaque);

/* For the QMP commands whose reply is what an info command prints (HumanReadableText). True. */
bool hmp_text_result(QmpCall *call, void (*run)(HmpCall *call));

/*
 * The monitor's current CPU, at rest and with its registers fetched, until hmp_cpu_end. NULL (and said so): there is
 * none, or its registers cannot be had; then hmp_cpu_end must not be called. Pairs may nest.
 */
Cpu *hmp_cpu_begin(HmpCall *call);
void hmp_cpu_end(HmpCall *call);
/* The value of a register of the current CPU: "pc", "eax", "cs". False with *err. monitor/hmp_cpu.c. */
bool hmp_read_register(HmpCall *call, const char *name, int64_t *value, GError **err);

/* len bytes at addr; cpu NULL: a physical address. False: not all of it is memory. monitor/hmp_memory.c. */
bool hmp_read_memory(Vm *vm, Cpu *cpu, uint64_t addr, uint8_t *bytes, unsigned len);
/* Prints count instructions (0: one) at a virtual or physical address. False, and said so: there is no disassembler.
 * monitor/hmp_disas.c. */
bool hmp_disassemble(HmpCall *call, bool is_virtual, int64_t count, uint64_t addr);

/* Calls fn with every command, in the order of the tables. */
void hmp_foreach_command(void (*fn)(const HmpCommand *command, void *opaque), void *opaque);

/* Runs it; rest: the line behind its name. What it must wait for, it does later (hmp_later is called). monitor/slow.c. */
void hmp_run(HmpCall *call, const HmpCommand *command, const char *rest);

#endif
