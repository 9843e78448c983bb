/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HMP: what is known of an image and those below it, laid out as qemu-img's info. */
#include <inttypes.h>
#include <json-c/json.h>
#include <time.h>

#include "monitor/hmp_internal.h"
#include "qapi/qapi-block.h"
#include "qapi/qapi.h"
#include "util/size_text.h"

static void show_value(HmpCall *call, json_object *value, int indent);

static void show_members(HmpCall *call, json_object *object, int indent)
{
    json_object_object_foreach(object, key, value) {
        bool composite = json_object_is_type(value, json_type_object) || json_object_is_type(value, json_type_array);
        g_autofree char *name = g_strdelimit(g_strdup(key), "-", ' ');

        hmp_printf(call, "%*s%s:%c", indent * 4, "", name, composite ? '\n' : ' ');
        show_value(call, value, indent + 1);
    }
}

static void show_items(HmpCall *call, json_object *array, int indent)
{
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        json_object *value = json_object_array_get_idx(array, i);
        bool composite = json_object_is_type(value, json_type_object) || json_object_is_type(value, json_type_array);

        hmp_printf(call, "%*s[%zu]:%c", indent * 4, "", i, composite ? '\n' : ' ');
        show_value(call, value, indent + 1);
    }
}

static void show_value(HmpCall *call, json_object *value, int indent)
{
    if (json_object_is_type(value, json_type_object)) {
        show_members(call, value, indent);
    } else if (json_object_is_type(value, json_type_array)) {
        show_items(call, value, indent);
    } else {
        hmp_printf(call, "%s\n", json_object_get_string(value));
    }
}

static void show_snapshot(HmpCall *call, const SnapshotInfo *s)
{
    g_autofree char *size = size_text((uint64_t)s->vm_state_size);
    g_autofree char *icount = s->has_icount ? g_strdup_printf("%" PRId64, s->icount) : g_strdup("");
    g_autofree char *clock = g_strdup_printf("%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%03" PRId64, s->vm_clock_sec / 3600,
                                             s->vm_clock_sec / 60 % 60, s->vm_clock_sec % 60, s->vm_clock_nsec / 1000000);
    time_t date = (time_t)s->date_sec;
    char when[64] = "";
    struct tm tm;

    if (localtime_r(&date, &tm)) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    }
    hmp_printf(call, "%-10s%-17s%8s%20s%13s%11s\n", s->id, s->name, size, when, clock, icount);
}

static void show_backing(HmpCall *call, const ImageInfo *image)
{
    const char *full = image->full_backing_filename;
    bool same = !full || !strcmp(full, image->backing_filename);

    hmp_printf(call, "backing file: %s%s%s%s\n", image->backing_filename, same ? "" : " (actual path: ", same ? "" : full,
               same ? "" : ")");
    if (image->backing_filename_format) {
        hmp_printf(call, "backing file format: %s\n", image->backing_filename_format);
    }
}

static void show_specific(HmpCall *call, const ImageInfoSpecific *specific)
{
    json_object *json = qapi_write(&qapi_type_ImageInfoSpecific, specific), *data;

    hmp_printf(call, "Format specific information:\n");
    if (json_object_object_get_ex(json, "data", &data)) {
        show_members(call, data, 1);
    }
    json_object_put(json);
}

static void show_image(HmpCall *call, const ImageInfo *image)
{
    g_autofree char *size = size_text((uint64_t)image->virtual_size);
    g_autofree char *disk = image->has_actual_size ? size_text((uint64_t)image->actual_size) : g_strdup("unavailable");

    hmp_printf(call, "image: %s\nfile format: %s\nvirtual size: %s (%" PRId64 " bytes)\ndisk size: %s\n", image->filename,
               image->format, size, image->virtual_size, disk);
    if (image->encrypted) {
        hmp_printf(call, "encrypted: yes\n");
    }
    if (image->has_cluster_size) {
        hmp_printf(call, "cluster_size: %" PRId64 "\n", image->cluster_size);
    }
    if (image->dirty_flag) {
        hmp_printf(call, "cleanly shut down: no\n");
    }
    if (image->backing_filename) {
        show_backing(call, image);
    }
    if (image->snapshots && image->snapshots->len) {
        hmp_printf(call, "Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
        for (unsigned i = 0; i < image->snapshots->len; i++) {
            show_snapshot(call, g_ptr_array_index(image->snapshots, i));
        }
    }
    if (image->format_specific) {
        show_specific(call, image->format_specific);
    }
}

void hmp_show_images(HmpCall *call, const ImageInfo *image)
{
    hmp_printf(call, "\nImages:\n");
    for (; image; image = image->backing_image) {
        show_image(call, image);
    }
}
