/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/image_text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <time.h>

#include "util/size_text.h"

static json_object *member(json_object *object, const char *key)
{
    json_object *value = NULL;

    json_object_object_get_ex(object, key, &value);
    return value;
}

static int64_t number(json_object *object, const char *key) { return json_object_get_int64(member(object, key)); }
static const char *string(json_object *object, const char *key) { return json_object_get_string(member(object, key)); }

/* ---- anything ------------------------------------------------------------------------------------ */

static bool is_composite(json_object *value)
{
    return json_object_is_type(value, json_type_object) || json_object_is_type(value, json_type_array);
}

static void value_text(GString *out, json_object *value, int indent);

static void members_text(GString *out, json_object *object, int indent)
{
    json_object_object_foreach(object, key, value) {
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        g_string_append_printf(out, "%*s%s:%c", indent * 4, "", name, is_composite(value) ? '\n' : ' ');
        value_text(out, value, indent + 1);
    }
}

static void items_text(GString *out, json_object *array, int indent)
{
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        json_object *value = json_object_array_get_idx(array, i);

        g_string_append_printf(out, "%*s[%zu]:%c", indent * 4, "", i, is_composite(value) ? '\n' : ' ');
        value_text(out, value, indent + 1);
    }
}

static void value_text(GString *out, json_object *value, int indent)
{
    if (json_object_is_type(value, json_type_object)) {
        members_text(out, value, indent);
    } else if (json_object_is_type(value, json_type_array)) {
        items_text(out, value, indent);
    } else {
        g_string_append_printf(out, "%s\n", json_object_get_string(value));
    }
}

/* ---- images -------------------------------------------------------------------------------------- */

static void snapshot_text(GString *out, json_object *s)
{
    const int64_t seconds = number(s, "vm-clock-sec");
    const time_t date = (time_t)number(s, "date-sec");
    g_autofree char *size = size_text((uint64_t)number(s, "vm-state-size"));
    g_autofree char *clock = g_strdup_printf("%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%03" PRId64, seconds / 3600, seconds / 60 % 60,
                                             seconds % 60, number(s, "vm-clock-nsec") / 1000000);
    const char *icount = member(s, "icount") ? string(s, "icount") : "";
    char when[64] = "";
    struct tm tm;

    if (localtime_r(&date, &tm)) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    }
    g_string_append_printf(out, "%-9s %-16s %8s%20s%13s%11s\n", string(s, "id"), string(s, "name"), size, when, clock, icount);
}

void snapshots_text(GString *out, json_object *snapshots)
{
    g_string_append_printf(out, "%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (size_t i = 0; i < json_object_array_length(snapshots); i++) {
        snapshot_text(out, json_object_array_get_idx(snapshots, i));
    }
}

static void backing_text(GString *out, json_object *image)
{
    const char *name = string(image, "backing-filename"), *full = string(image, "full-backing-filename");
    const bool same = !full || !strcmp(full, name);

    g_string_append_printf(out, "backing file: %s%s%s%s\n", name, same ? "" : " (actual path: ", same ? "" : full, same ? "" : ")");
    if (member(image, "backing-filename-format")) {
        g_string_append_printf(out, "backing file format: %s\n", string(image, "backing-filename-format"));
    }
}

void image_text(GString *out, json_object *image)
{
    json_object *snapshots = member(image, "snapshots"), *specific = member(image, "format-specific");
    g_autofree char *size = size_text((uint64_t)number(image, "virtual-size"));
    g_autofree char *disk = member(image, "actual-size") ? size_text((uint64_t)number(image, "actual-size")) : g_strdup("unavailable");

    g_string_append_printf(out, "image: %s\nfile format: %s\nvirtual size: %s (%" PRId64 " bytes)\ndisk size: %s\n",
                           string(image, "filename"), string(image, "format"), size, number(image, "virtual-size"), disk);
    if (json_object_get_boolean(member(image, "encrypted"))) {
        g_string_append(out, "encrypted: yes\n");
    }
    if (member(image, "cluster-size")) {
        g_string_append_printf(out, "cluster_size: %" PRId64 "\n", number(image, "cluster-size"));
    }
    if (json_object_get_boolean(member(image, "dirty-flag"))) {
        g_string_append(out, "cleanly shut down: no\n");
    }
    if (member(image, "backing-filename")) {
        backing_text(out, image);
    }
    if (snapshots && json_object_array_length(snapshots)) {
        g_string_append(out, "Snapshot list:\n");
        snapshots_text(out, snapshots);
    }
    if (specific && member(specific, "data")) {
        g_string_append(out, "Format specific information:\n");
        members_text(out, member(specific, "data"), 1);
    }
}
