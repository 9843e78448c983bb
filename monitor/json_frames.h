/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cuts a stream of bytes into JSON values, without looking at what is in them: brackets are counted and
 * strings are skipped. What cannot become a value is reported once, and reading goes on at the next line or
 * the next '{'. Memory is bounded by JSON_FRAME_LIMIT; a longer value is skipped to its end.
 */
#ifndef MONITOR_JSON_FRAMES_H
#define MONITOR_JSON_FRAMES_H

#include <glib.h>
#include <stdbool.h>

#include "util/util.h"

#define JSON_FRAME_LIMIT (16 * MIB)  /* bytes of one value */
#define JSON_DEPTH_LIMIT 1024        /* brackets within brackets, as QEMU's */

typedef struct JsonFrames {
    GString *text;              /* of the value so far */
    uint8_t kinds[JSON_DEPTH_LIMIT / 8]; /* per depth one bit: '[' rather than '{' */
    unsigned depth;             /* open brackets */
    char quote;                 /* inside a string: its quote; else 0 */
    bool escaped;               /* the next character of the string is an escaped one */
    bool scalar;                /* inside a value at the top that is no object and no array */
    bool skipping;              /* the value is too long: its end is looked for, nothing is kept */
    bool resync;                /* a broken value was reported: until a line's end or a '{' */
} JsonFrames;

void json_frames_init(JsonFrames *frames);
void json_frames_free(JsonFrames *frames);
/* Forgets what is half read. */
void json_frames_reset(JsonFrames *frames);

typedef enum JsonFrame {
    JSON_FRAME_NONE,    /* all bytes were used; no value is complete */
    JSON_FRAME_VALUE,   /* frames->text is a value, until the next call */
    JSON_FRAME_ERROR,   /* *err was set */
} JsonFrame;
/* Reads on. *used: the bytes that were taken; call again with the rest. */
JsonFrame json_frames_feed(JsonFrames *frames, const uint8_t *data, size_t len, size_t *used, GError **err);

#endif
