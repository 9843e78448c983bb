/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "monitor/json_frames.h"

#include "util/error.h"

#define KEEP_TEXT (64 * KIB) /* a buffer that grew beyond is given back after use */

void json_frames_init(JsonFrames *frames) { *frames = (JsonFrames){.text = g_string_new(NULL)}; }
void json_frames_free(JsonFrames *frames) { g_string_free(frames->text, true); }

static void clear_text(JsonFrames *frames)
{
    if (frames->text->allocated_len > KEEP_TEXT) {
        g_string_free(frames->text, true);
        frames->text = g_string_new(NULL);
    }
    g_string_truncate(frames->text, 0);
}

void json_frames_reset(JsonFrames *frames)
{
    clear_text(frames);
    frames->depth = 0;
    frames->quote = 0;
    frames->escaped = frames->scalar = frames->skipping = frames->resync = false;
}

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
static bool is_open(uint8_t c) { return c == '{' || c == '['; }
static bool is_close(uint8_t c) { return c == '}' || c == ']'; }

static bool push(JsonFrames *frames, uint8_t c)
{
    if (frames->depth == JSON_DEPTH_LIMIT) {
        return false;
    }
    uint8_t bit = (uint8_t)(1u << frames->depth % 8), *byte = &frames->kinds[frames->depth / 8];

    *byte = c == '[' ? *byte | bit : *byte & (uint8_t)~bit;
    frames->depth++;
    return true;
}

/* False: there is no such bracket open. */
static bool pop(JsonFrames *frames, uint8_t c)
{
    if (!frames->depth) {
        return false;
    }
    frames->depth--;
    bool square = frames->kinds[frames->depth / 8] >> frames->depth % 8 & 1;
    return square == (c == ']');
}

static JsonFrame broken(JsonFrames *frames, GError **err, const char *what)
{
    json_frames_reset(frames);
    frames->resync = true;
    error_set(err, "JSON parse error, %s", what);
    return JSON_FRAME_ERROR;
}

static JsonFrame complete(JsonFrames *frames, GError **err)
{
    frames->scalar = false;
    if (!frames->skipping) {
        return JSON_FRAME_VALUE;
    }
    frames->skipping = false;
    error_set(err, "JSON token size limit exceeded: a message has at most %" G_GUINT64_FORMAT " bytes",
              (guint64)JSON_FRAME_LIMIT);
    return JSON_FRAME_ERROR;
}

/* A byte inside a string. */
static JsonFrame feed_string(JsonFrames *frames, uint8_t c, GError **err)
{
    if (c < 0x20) {
        return broken(frames, err, "a string is not closed before the end of its line");
    }
    if (frames->escaped) {
        frames->escaped = false;
    } else if (c == '\\') {
        frames->escaped = true;
    } else if (c == (uint8_t)frames->quote) {
        frames->quote = 0;
        return frames->depth ? JSON_FRAME_NONE : complete(frames, err);
    }
    return JSON_FRAME_NONE;
}

/* A byte outside of strings; scalars at the top have been seen to. */
static JsonFrame feed_plain(JsonFrames *frames, uint8_t c, GError **err)
{
    if (c < 0x20 && !is_blank(c)) {
        return broken(frames, err, "stray control character");
    }
    if (c == '"' || c == '\'') {
        frames->quote = (char)c;
    } else if (is_open(c)) {
        if (!push(frames, c)) {
            broken(frames, NULL, "");
            error_set(err, "JSON nesting depth limit exceeded");
            return JSON_FRAME_ERROR;
        }
    } else if (is_close(c)) {
        if (!pop(frames, c)) {
            return broken(frames, err, "expecting value before a closing bracket");
        }
        return frames->depth ? JSON_FRAME_NONE : complete(frames, err);
    } else if (!frames->depth) {
        frames->scalar = true;
    }
    return JSON_FRAME_NONE;
}

static void keep(JsonFrames *frames, uint8_t c)
{
    if (frames->skipping) {
        return;
    }
    if (frames->text->len >= JSON_FRAME_LIMIT) {
        clear_text(frames);
        frames->skipping = true;
        return;
    }
    g_string_append_c(frames->text, (char)c);
}

/* Long runs of a string's plain bytes, at once. Returns how many. */
static size_t keep_run(JsonFrames *frames, const uint8_t *data, size_t len)
{
    size_t n = 0;

    while (n < len && data[n] >= 0x20 && data[n] < 0xf5 && data[n] != '\\' && data[n] != (uint8_t)frames->quote) {
        n++;
    }
    if (!frames->skipping && frames->text->len + n > JSON_FRAME_LIMIT) {
        clear_text(frames);
        frames->skipping = true;
    }
    if (!frames->skipping) {
        g_string_append_len(frames->text, (const char *)data, (gssize)n);
    }
    return n;
}

JsonFrame json_frames_feed(JsonFrames *frames, const uint8_t *data, size_t len, size_t *used, GError **err)
{
    bool idle = !frames->depth && !frames->quote && !frames->scalar;

    if (idle && frames->text->len) { /* the value that the last call gave */
        clear_text(frames);
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t c = data[i];
        JsonFrame frame = JSON_FRAME_NONE;

        idle = !frames->depth && !frames->quote && !frames->scalar;
        if (frames->resync) {
            if (c != '{' && c != '\n' && c != 0xff) {
                continue;
            }
            frames->resync = false;
        }
        if (c >= 0xf5) { /* in no UTF-8 text; QEMU's clients begin anew with 0xff */
            frame = broken(frames, err, "stray byte that is not UTF-8");
            frames->resync = c != 0xff;
        } else if (frames->scalar && (is_blank(c) || is_open(c) || is_close(c))) {
            *used = i; /* this byte is the next value's */
            return complete(frames, err);
        } else if (idle && is_blank(c)) {
            continue;
        } else if (frames->quote && !frames->escaped && (*used = keep_run(frames, data + i, len - i)) > 0) {
            i += *used - 1;
            continue;
        } else {
            keep(frames, c);
            frame = frames->scalar ? JSON_FRAME_NONE
                    : frames->quote ? feed_string(frames, c, err) : feed_plain(frames, c, err);
        }
        if (frame != JSON_FRAME_NONE) {
            *used = i + 1;
            return frame;
        }
    }
    *used = len;
    return JSON_FRAME_NONE;
}
