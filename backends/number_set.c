/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backends/number_set.h"

#include <json-c/json.h>
#include <stdlib.h>

static bool add_range(uint64_t *set, unsigned count, const char *what, uint64_t first, uint64_t last, GError **err)
{
    if (last < first || last >= count) {
        return error_set(err, "Invalid %s value: %" G_GUINT64_FORMAT "; it is 0 to %u", what, last, count - 1);
    }
    for (uint64_t n = first; n <= last; n++) {
        set[n / 64] |= UINT64_C(1) << n % 64;
    }
    return true;
}

bool number_set_add(uint64_t *set, unsigned count, const char *what, const char *text, GError **err)
{
    uint64_t first, last;
    char *end = NULL;

    if (g_ascii_isdigit(*text)) {
        first = last = strtoull(text, &end, 10);
        if (*end == '-' && g_ascii_isdigit(end[1])) {
            last = strtoull(end + 1, &end, 10);
        }
    }
    return end && !*end ? add_range(set, count, what, first, last, err)
                        : error_set(err, "Parameter '%s' expects a number or a range like 0-1, got '%s'", what, text);
}

bool number_set_json(uint64_t *set, unsigned count, const char *what, json_object *value, GError **err)
{
    g_autofree uint64_t *found = g_new0(uint64_t, count / 64);

    if (!json_object_is_type(value, json_type_array)) {
        return error_set(err, "Invalid parameter type for '%s', expected: array", what);
    }
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        json_object *item = json_object_array_get_idx(value, i);

        if (!json_object_is_type(item, json_type_int)) {
            return error_set(err, "Invalid parameter type for '%s[%zu]', expected: integer", what, i);
        }
        uint64_t n = json_object_get_uint64(item);
        if (!add_range(found, count, what, n, n, err)) {
            return false;
        }
    }
    memcpy(set, found, count / 8);
    return true;
}

json_object *number_set_list(const uint64_t *set, unsigned count)
{
    json_object *list = json_object_new_array();

    for (unsigned n = 0; n < count; n++) {
        if (number_set_has(set, n)) {
            json_object_array_add(list, json_object_new_int((int)n));
        }
    }
    return list;
}

bool number_set_is_empty(const uint64_t *set, unsigned count)
{
    for (unsigned i = 0; i < count / 64; i++) {
        if (set[i]) {
            return false;
        }
    }
    return true;
}
