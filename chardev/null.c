/* SPDX-License-Identifier: GPL-2.0-or-later */
/* null: output is dropped, there is no input. */
#include "chardev/backend.h"

static bool null_open(Chardev *chr, GError **err)
{
    chardev_event(chr, CHAR_EVENT_OPENED);
    return true;
}

static const ChardevOps null_ops = {.open = null_open, .unqueued = true, .prompt = true};

KILN_TYPE(chardev_null) = {
    .name = "chardev-null",
    .parent = "chardev",
    .desc = "output is dropped, there is no input",
    .ops = &null_ops,
};
