/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An assembler for AML, the byte code of ACPI tables (ACPI 6.4, chapter 20). Tables are written as text
 * in prefix form, one form for each AML operator, and assembled when firmware asks for them:
 *
 *     (device HPET
 *       (name _HID (eisaid PNP0103))
 *       (opregion HPTM SystemMemory 0xfed00000 0x400)
 *       (field HPTM dword lock preserve (VEND 32) (PRD 32))
 *       (method _STA 0
 *         (store VEND Local0)
 *         (if (equal Local0 0) (return 0))
 *         (return 0x0f)))
 *
 * Terms
 *   12 0x1f          integers, in the shortest encoding
 *   'text'           strings
 *   \_SB.PCI0 ^X AB  names; short segments are padded with '_'
 *   Arg0..Arg6 Local0..Local7 Debug
 *   (eisaid PNP0A03) (uuid e5c937d0-...) (buffer SIZE byte...) (package COUNT term...)
 *   (resources item...)   a resource template, see below
 *   (call NAME term...)
 *   add subtract multiply shl shr and or xor not index derefof sizeof tointeger tohexstring tobuffer
 *   concat land lor lnot equal less greater increment decrement: operands, then an optional target
 * Statements
 *   (store what where) (acquire MUTEX) (release MUTEX) (notify WHAT n) (return term) (break)
 *   (if condition statement...) (else statement...) (while condition statement...)
 *   (createdword buffer offset NAME)
 * Declarations
 *   (scope NAME ...) (device NAME ...) (processor NAME id ...) (method NAME args [serialized] ...)
 *   (name NAME term) (mutex NAME level) (opregion NAME SPACE offset length)
 *   (field REGION any|byte|word|dword nolock|lock preserve|zeros (NAME bits) (offset byte) ...)
 * Resource items (chapter 6.4)
 *   (io min max align length) (irq n) (dma n) (memory32 ro|rw base length) (interrupt n...)
 *   (busrange min max length) (iorange min max length) (memrange32 uncached|cached min max length)
 *   (memrange64 uncached|cached min max length)
 *
 * Texts are our own; a mistake in one is a bug and ends the process.
 */
#ifndef HW_I386_AML_H
#define HW_I386_AML_H

#include <glib.h>

/* Appends the assembled text to out. */
void aml_assemble(const char *text, GByteArray *out);

#endif
