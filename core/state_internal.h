/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between core/state.c (one section) and core/state_stream.c (a whole machine). */
#ifndef CORE_STATE_INTERNAL_H
#define CORE_STATE_INTERNAL_H

#include "core/clock.h"
#include "core/state.h"

/* Marks of QEMU's migration stream. */
enum {
    STATE_EOF = 0x00,
    STATE_SECTION_FULL = 0x04,
    STATE_SUBSECTION = 0x05,
    STATE_DESCRIPTION = 0x06,
    STATE_CONFIGURATION = 0x07,
    STATE_FOOTER = 0x7e,
};
#define STATE_MAGIC 0x5145564du /* "QEVM" */
#define STATE_STREAM_VERSION 3

/* As state_save_fields; json (may be NULL) gets "fields" and "subsections". */
void state_save_described(const StateDesc *desc, void *obj, GByteArray *out, json_object *json);
/* As state_load_fields of the first *used bytes; what follows is the caller's. */
bool state_load_prefix(const StateDesc *desc, void *obj, unsigned version, const uint8_t *data, size_t len,
                       size_t *used, GError **err);
/* Arms (or with -1 cancels) when all fields of the section have been taken, before the post_loads. */
void state_journal_timer(StateBuf *buf, Timer *timer, int64_t deadline);

#endif
