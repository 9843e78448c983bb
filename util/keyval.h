/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "key=value,key=value" texts of the command line. A comma in a value is doubled. The first word may
 * stand without its key where the option has an implied one; any other word without "=" is that key set
 * to "on" ("no" before it: "off"), as QEMU takes it. The last of several equal keys counts.
 *
 * What nobody asked for is a mistake of the user's: keyvals_finish names it.
 */
#ifndef UTIL_KEYVAL_H
#define UTIL_KEYVAL_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct KeyVals KeyVals;

/* option: as the user typed it ("-smp"), for messages; copied. implied NULL: none. Never fails but for an empty
 * key. */
KeyVals *keyvals_parse(const char *option, const char *text, const char *implied, GError **err);
void keyvals_free(KeyVals *kv);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KeyVals, keyvals_free)

/* Appends other's pairs to kv, and frees other: later values win. */
void keyvals_merge(KeyVals *kv, KeyVals *other);
/* NULL when absent. The value stays kv's. Marks it as known. */
const char *keyvals_get(KeyVals *kv, const char *key);
bool keyvals_has(const KeyVals *kv, const char *key);
/* False with *err when the value is not of this kind; an absent key leaves *value as it is. */
bool keyvals_bool(KeyVals *kv, const char *key, bool *value, GError **err);
bool keyvals_uint(KeyVals *kv, const char *key, uint64_t min, uint64_t max, uint64_t *value, GError **err);
/* Bytes; a plain number is multiplied by unit (1, or MIB for -m). */
bool keyvals_size(KeyVals *kv, const char *key, uint64_t unit, uint64_t *value, GError **err);
/* Index in values (ends with NULL). */
bool keyvals_enum(KeyVals *kv, const char *key, const char *const *values, int *value, GError **err);
/* Calls fn with each pair in order until it returns false (then *err is set by fn). Marks all as known. */
bool keyvals_foreach(KeyVals *kv, bool (*fn)(const char *key, const char *value, void *opaque, GError **err),
                     void *opaque, GError **err);
/* False, naming the first key that was not asked for and the nearest that were. */
bool keyvals_finish(const KeyVals *kv, GError **err);

/* For lists whose words mean other things: the text up to an undoubled comma, doubled ones made one; *text moves behind
 * it, to "" at the end. The caller frees. */
char *keyval_next_part(const char **text);

/* "64K", "1.5G", "0x1000": bytes. A plain number is multiplied by unit. */
bool parse_size(const char *text, uint64_t unit, uint64_t *bytes);

#endif
