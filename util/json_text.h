/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * JSON as text, spaced as QEMU writes it ({"a": 1, "b": [2, 3]}), because scripts search in it. Only ASCII
 * leaves: other characters become \u escapes.
 */
#ifndef UTIL_JSON_TEXT_H
#define UTIL_JSON_TEXT_H

#include <glib.h>
#include <json-c/json_object.h>
#include <stdbool.h>

/* Appends value (NULL: null) to out; pretty: a member a line, indented by four. */
void json_text_append(GString *out, json_object *value, bool pretty);

/* A value that json_text_append copies from text, an object or array as json_text_append writes it (borrowed, until the
 * value is put); it has no members. */
json_object *json_text_made(const char *text);

#endif
