/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of small numbers as properties: host NUMA nodes, CPUs. A bit each, in uint64_t words. */
#ifndef BACKENDS_NUMBER_SET_H
#define BACKENDS_NUMBER_SET_H

#include "core/object.h"

/* Adds "3" or "0-3". what: the property, for messages; count: numbers are below it. False with *err, nothing changed. */
bool number_set_add(uint64_t *set, unsigned count, const char *what, const char *text, GError **err);
/* Replaces the set by a JSON list of numbers. */
bool number_set_json(uint64_t *set, unsigned count, const char *what, json_object *value, GError **err);
/* A new JSON list, the caller's. */
json_object *number_set_list(const uint64_t *set, unsigned count);
bool number_set_is_empty(const uint64_t *set, unsigned count);

static inline bool number_set_has(const uint64_t *set, unsigned n) { return set[n / 64] >> n % 64 & 1; }

#endif
