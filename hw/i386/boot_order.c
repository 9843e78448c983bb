/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot order for firmware; see the header. */
#include "hw/i386/boot_order.h"

#include <inttypes.h>

typedef struct BootEntry {
    int64_t index;
    char *path;
} BootEntry;

static void entry_clear(gpointer data)
{
    g_free(((BootEntry *)data)->path);
}

static gint entry_compare(gconstpointer a, gconstpointer b)
{
    int64_t x = ((const BootEntry *)a)->index, y = ((const BootEntry *)b)->index;

    return x < y ? -1 : x > y;
}

char *device_fw_path(Device *dev)
{
    GString *path = g_string_new(NULL);

    for (Device *d = dev; d && d->bus; d = d->bus->owner) {
        const BusOps *ops = type_ops(d->bus->obj.type);
        char *part = ops && ops->fw_path ? ops->fw_path(d->bus, d) : NULL;

        if (part) {
            g_string_prepend(path, part);
            g_string_prepend_c(path, '/');
        }
        /* A host bridge is on no bus: its name is the port of its configuration registers. */
        if (d->bus->owner && !d->bus->owner->bus && object_is_a(d->bus->owner, "pci-host-bridge")) {
            g_string_prepend(path, "/pci@i0cf8");
        }
        g_free(part);
    }
    return g_string_free(path, FALSE);
}

/* A number property's value, -1 when there is none. */
static int64_t number(Device *dev, const char *name)
{
    json_object *value = type_own_property(dev->obj.type, name) ? object_get(&dev->obj, name, NULL) : NULL;
    int64_t n = value ? json_object_get_int64(value) : -1;

    json_object_put(value);
    return n;
}

/* The device's bootindex, -1 when it has none. Those of floppy drives are the controller's. */
static int64_t boot_index(Device *dev)
{
    if (object_is_a(dev, "floppy")) {
        return number(dev->bus->owner, number(dev, "unit") ? "bootindexB" : "bootindexA");
    }
    return number(dev, "bootindex");
}

/* What boots from a card is its PHY. */
static char *entry_path(Device *dev)
{
    char *path = device_fw_path(dev);

    if (type_own_property(dev->obj.type, "netdev")) {
        g_autofree char *card = path;

        path = g_strconcat(card, "/ethernet-phy@0", NULL);
    }
    return path;
}

void bios_geometry_build(Vm *vm, GString *out)
{
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(vm->devices, i);

        if (!type_own_property(dev->obj.type, "lcyls")) {
            continue; /* no disk */
        }
        int64_t cyls = number(dev, "lcyls"), heads = number(dev, "lheads"), secs = number(dev, "lsecs");

        if (cyls > 0 || heads > 0 || secs > 0) {
            g_autofree char *path = device_fw_path(dev);

            g_string_append_printf(out, "%s%s %" PRId64 " %" PRId64 " %" PRId64, out->len ? "\n" : "", path, cyls, heads,
                                   secs);
        }
    }
}

bool boot_order_build(Vm *vm, const GPtrArray *option_roms, bool strict, GString *out, GError **err)
{
    GArray *entries = g_array_new(FALSE, FALSE, sizeof(BootEntry));
    bool ok = true;

    g_array_set_clear_func(entries, entry_clear);
    for (unsigned i = 0; i < vm->devices->len; i++) {
        Device *dev = g_ptr_array_index(vm->devices, i);
        BootEntry entry = {.index = boot_index(dev)};

        if (entry.index >= 0) {
            entry.path = entry_path(dev);
            g_array_append_val(entries, entry);
        }
    }
    g_array_sort(entries, entry_compare);
    for (unsigned i = 0; option_roms && i < option_roms->len; i++) {
        g_string_append_printf(out, "%s/rom@genroms/%s", out->len ? "\n" : "",
                               (const char *)g_ptr_array_index(option_roms, i));
    }
    for (unsigned i = 0; i < entries->len && ok; i++) {
        const BootEntry *entry = &g_array_index(entries, BootEntry, i);

        if (i && entry[-1].index == entry->index) {
            ok = error_set(err, "bootindex=%" PRId64 " is used twice: by '%s' and '%s'", entry->index, entry[-1].path,
                           entry->path);
        }
        g_string_append_printf(out, "%s%s", out->len ? "\n" : "", entry->path);
    }
    if (strict) {
        g_string_append_printf(out, "%sHALT", out->len ? "\n" : "");
    }
    g_array_unref(entries);
    return ok;
}
