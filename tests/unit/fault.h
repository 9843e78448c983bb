/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk of qcow2-model.h that fails: by a blkdebug node between the format and its file. */
#ifndef TESTS_UNIT_FAULT_H
#define TESTS_UNIT_FAULT_H

#include "tests/unit/qcow2-judge.h"

typedef struct Fault {
    const char *event, *iotype;
    unsigned n; /* at its n-th time; 0: never */
    int error;
    bool for_good; /* and from then on */
    unsigned phase; /* before the image was closed in between, or after */
} Fault;

static inline BlockNode *open_debug(World *w, const Fault *f, unsigned phase)
{
    g_autoptr(GString) text = g_string_new("driver=blkdebug,node-name=debug,image=disk0");
    bool here = f->n && f->phase == phase;

    for (unsigned i = 1; here && i < f->n; i++) {
        g_string_append_printf(text, ",set-state.%u.event=%s,set-state.%u.state=%u,set-state.%u.new_state=%u",
                               i - 1, f->event, i - 1, i, i - 1, i + 1);
    }
    if (here) {
        g_string_append_printf(text, ",inject-error.0.event=%s,inject-error.0.state=%u,inject-error.0.errno=%d"
                               ",inject-error.0.once=%s", f->event, f->n, f->error, f->for_good ? "off" : "on");
    }
    if (here && f->iotype) {
        g_string_append_printf(text, ",inject-error.0.iotype=%s", f->iotype);
    }
    return open_node(w->vm, text->str);
}

/* After a failure that does not last everything goes on. */
static inline void flush_at_last(World *w, const Fault *f)
{
    unsigned before;

    for (unsigned i = 0; i < 3; i++) {
        before = w->errors;
        start(w, BLOCK_FLUSH, 0, 0, false);
        wait_all(w, 0);
        if (w->errors == before) {
            return;
        }
    }
    g_assert_true(f->for_good);
}

#endif
