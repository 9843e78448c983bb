/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -smbios: one table of what may be given, and its validation. */
#include "hw/i386/smbios_internal.h"

#include <stdio.h>

#include "hw/nvram/option_file.h"
#include "hw/pci/pci.h"
#include "util/keyval.h"

#define SMBIOS_FILE_MAX 0xffff
#define OEM_STRINGS_MAX 255

const char *const smbios_onboard_kinds[] = {NULL,   "other", "unknown", "video",     "scsi",
                                            "ethernet", "tokenring", "sound", "pata", "sata",
                                            "sas",  NULL};

/* ---- values ---------------------------------------------------------------------- */

static bool check_text(const char *key, const char *value, GError **err)
{
    return true;
}

static bool check_on_off(const char *key, const char *value, GError **err)
{
    return !strcmp(value, "on") || !strcmp(value, "off") || !strcmp(value, "yes") || !strcmp(value, "no") ||
           error_set(err, "%s=%s: must be 'on' or 'off'", key, value);
}

static bool check_number(const char *key, const char *value, uint64_t max, GError **err)
{
    char *end;
    uint64_t n = g_ascii_strtoull(value, &end, 0);

    return (g_ascii_isdigit(*value) && !*end && n <= max) ||
           error_set(err, "%s=%s: must be a number from 0 to %" G_GUINT64_FORMAT, key, value, max);
}

static bool check_u8(const char *key, const char *value, GError **err)
{
    return check_number(key, value, 0xff, err);
}

static bool check_u16(const char *key, const char *value, GError **err)
{
    return check_number(key, value, 0xffff, err);
}

static bool check_u64(const char *key, const char *value, GError **err)
{
    return check_number(key, value, UINT64_MAX, err);
}

static bool check_uuid(const char *key, const char *value, GError **err)
{
    return g_uuid_string_is_valid(value) ||
           error_set(err, "%s=%s: must have the form 12345678-1234-1234-1234-123456789abc", key, value);
}

static bool check_release(const char *key, const char *value, GError **err)
{
    unsigned major, minor;
    char rest;

    return (sscanf(value, "%u.%u%c", &major, &minor, &rest) == 2 && major <= 255 && minor <= 255) ||
           error_set(err, "%s=%s: must be MAJOR.MINOR, each 0 to 255", key, value);
}

static bool check_onboard_kind(const char *key, const char *value, GError **err)
{
    for (unsigned i = 1; smbios_onboard_kinds[i]; i++) {
        if (!strcmp(smbios_onboard_kinds[i], value)) {
            return true;
        }
    }
    return error_set(err, "%s=%s: must be one of other, unknown, video, scsi, ethernet, tokenring, sound, pata, sata, sas",
                     key, value);
}

typedef bool CheckValue(const char *key, const char *value, GError **err);

static const struct SmbiosKey {
    uint8_t type;
    const char *key;
    CheckValue *check;
} smbios_keys[] = {
    {0, "vendor", check_text}, {0, "version", check_text}, {0, "date", check_text},
    {0, "release", check_release}, {0, "uefi", check_on_off},
    {1, "manufacturer", check_text}, {1, "product", check_text}, {1, "version", check_text},
    {1, "serial", check_text}, {1, "uuid", check_uuid}, {1, "sku", check_text}, {1, "family", check_text},
    {2, "manufacturer", check_text}, {2, "product", check_text}, {2, "version", check_text},
    {2, "serial", check_text}, {2, "asset", check_text}, {2, "location", check_text},
    {3, "manufacturer", check_text}, {3, "version", check_text}, {3, "serial", check_text},
    {3, "asset", check_text}, {3, "sku", check_text},
    {4, "sock_pfx", check_text}, {4, "manufacturer", check_text}, {4, "version", check_text},
    {4, "serial", check_text}, {4, "asset", check_text}, {4, "part", check_text},
    {4, "max-speed", check_u16}, {4, "current-speed", check_u16}, {4, "processor-id", check_u64},
    {8, "internal_reference", check_text}, {8, "external_reference", check_text},
    {8, "connector_type", check_u8}, {8, "port_type", check_u8},
    {11, "value", check_text}, {11, "path", check_text},
    {17, "loc_pfx", check_text}, {17, "bank", check_text}, {17, "manufacturer", check_text},
    {17, "serial", check_text}, {17, "asset", check_text}, {17, "part", check_text}, {17, "speed", check_u16},
    {41, "designation", check_text}, {41, "kind", check_onboard_kind}, {41, "instance", check_u8},
    {41, "pcidev", check_text},
};

static const struct SmbiosKey *find_key(unsigned type, const char *key)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(smbios_keys); i++) {
        if (smbios_keys[i].type == type && !strcmp(smbios_keys[i].key, key)) {
            return &smbios_keys[i];
        }
    }
    return NULL;
}

static bool type_known(unsigned type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(smbios_keys); i++) {
        if (smbios_keys[i].type == type) {
            return true;
        }
    }
    return false;
}

static bool unknown_key(unsigned type, const char *key, GError **err)
{
    const char *names[G_N_ELEMENTS(smbios_keys) + 1];
    unsigned count = 0;
    char *hint;

    for (unsigned i = 0; i < G_N_ELEMENTS(smbios_keys); i++) {
        if (smbios_keys[i].type == type) {
            names[count++] = smbios_keys[i].key;
        }
    }
    names[count] = NULL;
    hint = suggest_names(key, names);
    char *all = g_strjoinv(", ", (char **)names);
    error_set(err, "unknown parameter '%s' of type %u%s; it has: %s", key, type, hint, all);
    g_free(all);
    g_free(hint);
    return false;
}

/* ---- type=N,... -------------------------------------------------------------------- */

typedef struct AddFields {
    SmbiosOptions *options;
    unsigned type;
    GHashTable *group;      /* types 8 and 41: this option's own keys; else NULL */
} AddFields;

/* Appends a file's bytes as one OEM string. */
static bool add_oem_file(SmbiosOptions *options, const char *path, GError **err)
{
    char *data;
    gsize len;

    if (!option_read_file("-smbios path", path, SMBIOS_FILE_MAX, &data, &len, err)) {
        return false;
    }
    if (memchr(data, 0, len)) {
        g_free(data);
        return error_set(err, "path=%s: the file contains a zero byte, which ends a string", path);
    }
    g_ptr_array_add(options->oem_strings, data);
    return true;
}

static bool add_field(const char *key, const char *value, void *opaque, GError **err)
{
    AddFields *add = opaque;
    const struct SmbiosKey *known = find_key(add->type, key);

    if (!strcmp(key, "type")) {
        return true;
    }
    if (!known) {
        return unknown_key(add->type, key, err);
    }
    if (!known->check(key, value, err)) {
        return false;
    }
    if (add->type == 11) {
        if (add->options->oem_strings->len >= OEM_STRINGS_MAX) {
            return error_set(err, "type 11 has room for %d strings", OEM_STRINGS_MAX);
        }
        if (!strcmp(key, "path")) {
            return add_oem_file(add->options, value, err);
        }
        g_ptr_array_add(add->options->oem_strings, g_strdup(value));
    } else if (add->group) {
        g_hash_table_replace(add->group, g_strdup(key), g_strdup(value));
    } else {
        g_hash_table_replace(add->options->values, g_strdup_printf("%u.%s", add->type, key), g_strdup(value));
    }
    return true;
}

static bool add_type(SmbiosOptions *options, KeyVals *kv, unsigned type, GError **err)
{
    AddFields add = {.options = options, .type = type};

    if (!type_known(type)) {
        return error_set(err, "the fields of type %u cannot be set; types 0 to 4, 8, 11, 17 and 41 can", type);
    }
    if (options->from_file[type]) {
        return error_set(err, "a structure of type %u was already read from a file", type);
    }
    if (type == 8 || type == 41) {
        add.group = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_ptr_array_add(type == 8 ? options->ports : options->onboard, add.group);
    }
    options->given[type] = true;
    return keyvals_foreach(kv, add_field, &add, err);
}

/* ---- file=PATH ----------------------------------------------------------------------- */

/* Length of the structure at data: formatted area and strings up to the double zero. 0: malformed. */
static size_t structure_length(const uint8_t *data, size_t len)
{
    size_t at;

    if (len < 4 || data[1] < 4 || data[1] > len) {
        return 0;
    }
    for (at = data[1]; at + 1 < len; at++) {
        if (!data[at] && !data[at + 1]) {
            return at + 2;
        }
    }
    return 0;
}

static bool add_file(SmbiosOptions *options, const char *path, GError **err)
{
    char *data;
    gsize len;
    size_t at = 0, n;
    bool ok = false;

    if (!option_read_file("-smbios file", path, SMBIOS_FILE_MAX, &data, &len, err)) {
        return false;
    }
    for (; at < len; at += n) {
        const uint8_t *structure = (const uint8_t *)data + at;

        n = structure_length(structure, len - at);
        if (!n) {
            error_set(err, "file=%s: the structure at offset %zu is truncated or has no end (two zero bytes)", path,
                      at);
            goto out;
        }
        if (structure[0] < SMBIOS_TYPES && options->given[structure[0]]) {
            error_set(err, "file=%s: fields of type %u were already given", path, structure[0]);
            goto out;
        }
        if (structure[0] < SMBIOS_TYPES) {
            options->from_file[structure[0]] = true;
        }
        options->n_blobs++;
        options->max_blob = MAX(options->max_blob, (unsigned)n);
    }
    ok = len > 0 || error_set(err, "file=%s: the file is empty", path);
    g_byte_array_append(options->blobs, (const guint8 *)data, (guint)len);
out:
    g_free(data);
    return ok;
}

/* ---- options ---------------------------------------------------------------------------- */

static void group_free(gpointer group)
{
    g_hash_table_unref(group);
}

SmbiosOptions *smbios_options_new(void)
{
    SmbiosOptions *options = g_new0(SmbiosOptions, 1);

    options->values = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    options->ports = g_ptr_array_new_with_free_func(group_free);
    options->onboard = g_ptr_array_new_with_free_func(group_free);
    options->oem_strings = g_ptr_array_new_with_free_func(g_free);
    options->blobs = g_byte_array_new();
    return options;
}

void smbios_options_free(SmbiosOptions *options)
{
    if (options) {
        g_hash_table_unref(options->values);
        g_ptr_array_unref(options->ports);
        g_ptr_array_unref(options->onboard);
        g_ptr_array_unref(options->oem_strings);
        g_byte_array_unref(options->blobs);
        g_free(options);
    }
}

bool smbios_options_add(SmbiosOptions *options, const char *text, GError **err)
{
    KeyVals *kv = keyvals_parse("-smbios", text, NULL, err);
    const char *file, *type_text;
    uint64_t type = 0;
    bool ok = false;

    if (!kv) {
        return false;
    }
    file = keyvals_get(kv, "file");
    type_text = keyvals_get(kv, "type");
    if (!file == !type_text) {
        error_set(err, "give either type=N with fields, or file=PATH");
    } else if (file) {
        ok = keyvals_finish(kv, err) && add_file(options, file, err);
    } else if (keyvals_uint(kv, "type", 0, SMBIOS_TYPES - 1, &type, err)) {
        ok = add_type(options, kv, (unsigned)type, err);
    }
    if (!ok && err && *err && !g_str_has_prefix((*err)->message, "-smbios")) {
        g_prefix_error(err, "-smbios %s: ", text);
    }
    keyvals_free(kv);
    return ok;
}

bool smbios_options_uuid(const SmbiosOptions *options, uint8_t uuid[16])
{
    const char *text = options ? g_hash_table_lookup(options->values, "1.uuid") : NULL;

    for (unsigned i = 0; text && i < 16; text++) {
        if (*text != '-') {
            uuid[i++] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
            text++;
        }
    }
    return text != NULL;
}

bool smbios_options_check(const SmbiosOptions *options, Vm *vm, GError **err)
{
    for (unsigned i = 0; options && i < options->onboard->len; i++) {
        const char *id = g_hash_table_lookup(g_ptr_array_index(options->onboard, i), "pcidev");
        Device *dev = id ? device_find(vm, id) : NULL;

        if (id && (!dev || !object_is_a(dev, "pci-device"))) {
            return error_set(err, "-smbios type=41,pcidev=%s: there is no PCI device with this id", id);
        }
    }
    return true;
}
