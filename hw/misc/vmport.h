/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vmport: the port at which guests talk to VMware's hypervisor, as the interface for those who
 * answer commands. A command is an access to port 5658h:
 *
 *      EAX  564D5868h ("VMXh")        becomes the answer
 *      EBX  parameter
 *      CX   number of the command
 *      DX   5658h
 *
 * and it may change EAX to EDX, ESI and EDI. Width and direction of the access do not matter.
 * The names of the commands are those of VMware's published backdoor_def.h.
 */
#ifndef HW_MISC_VMPORT_H
#define HW_MISC_VMPORT_H

#include "core/device.h"

enum {
    VMPORT_GET_VERSION = 10,
    VMPORT_GET_BIOS_UUID = 19,
    VMPORT_GET_MEMORY_SIZE = 20,
    VMPORT_MOUSE_DATA = 39, /* the absolute pointer: hw/input/vmmouse.c */
    VMPORT_MOUSE_STATUS = 40,
    VMPORT_MOUSE_COMMAND = 41,
    VMPORT_GET_HZ = 45,
    VMPORT_GET_VCPU_INFO = 68,
};
#define VMPORT_NUM_COMMANDS 69

/* The low halves of the CPU's registers, in the order in which data is handed over. What a command
 * leaves alone keeps its upper half, too. */
enum { VMPORT_EAX, VMPORT_EBX, VMPORT_ECX, VMPORT_EDX, VMPORT_ESI, VMPORT_EDI, VMPORT_NUM_REGS };

/* Called by the vCPU's thread under the VM lock. */
typedef void VmportCommand(void *opaque, uint32_t regs[VMPORT_NUM_REGS]);

/* dev is a "vmport"; command is below VMPORT_NUM_COMMANDS and has no other handler. */
void vmport_register(Device *dev, unsigned command, VmportCommand *handler, void *opaque);

#endif
