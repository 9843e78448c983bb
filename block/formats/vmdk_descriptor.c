/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text that says what a VMware disk consists of. */
#include "block/formats/vmdk.h"

static void line_free(void *opaque)
{
    VmdkLine *line = opaque;

    g_free(line->access);
    g_free(line->type);
    g_free(line->filename);
    g_free(line);
}

void vmdk_descriptor_free(VmdkDescriptor *d)
{
    if (d) {
        g_free(d->text);
        g_free(d->create_type);
        g_free(d->parent);
        g_ptr_array_free(d->lines, true);
        g_free(d);
    }
}

/* An extent's file lies beside the descriptor: an image from a stranger must not make its reader open
 * other files of the host. */
static bool name_is_plain(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static bool take_sectors(const char *text, uint64_t *bytes)
{
    uint64_t sectors;

    if (!text || !g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX / BLOCK_SECTOR, &sectors, NULL)) {
        return false;
    }
    *bytes = sectors * BLOCK_SECTOR;
    return true;
}

/* ACCESS SECTORS TYPE ["FILE" [OFFSET]] */
static VmdkLine *parse_extent(const char *text, GError **err)
{
    g_auto(GStrv) words = NULL;
    const char *open = strchr(text, '"'), *close = open ? strchr(open + 1, '"') : NULL;
    g_autofree char *front = g_strndup(text, open ? (size_t)(open - text) : strlen(text));
    VmdkLine *line = g_new0(VmdkLine, 1);

    words = g_strsplit_set(g_strstrip(front), " \t", -1);
    if (g_strv_length(words) != 3 || !take_sectors(words[1], &line->len) || (open && !close)) {
        error_set(err, "extent line '%s' cannot be understood", text);
        line_free(line);
        return NULL;
    }
    line->access = g_strdup(words[0]);
    line->type = g_strdup(words[2]);
    if (open) {
        g_autofree char *offset = g_strdup(close + 1);

        line->filename = g_strndup(open + 1, (size_t)(close - open - 1));
        g_strstrip(offset);
        if (!name_is_plain(line->filename)) {
            error_set(err, "extent '%s' is no file beside the descriptor; Kiln opens no others",
                      line->filename);
            line_free(line);
            return NULL;
        }
        if (*offset && !take_sectors(offset, &line->offset)) {
            error_set(err, "extent line '%s' has no valid offset", text);
            line_free(line);
            return NULL;
        }
    } else if (strcmp(line->type, "ZERO")) {
        error_set(err, "extent line '%s' names no file", text);
        line_free(line);
        return NULL;
    }
    return line;
}

static bool is_extent(const char *text)
{
    return g_str_has_prefix(text, "RW ") || g_str_has_prefix(text, "RDONLY ") ||
           g_str_has_prefix(text, "NOACCESS ");
}

/* KEY=VALUE, the value perhaps in quotes. */
static bool take_value(VmdkDescriptor *d, const char *text, GError **err)
{
    g_autofree char *key = g_strndup(text, strcspn(text, "="));
    g_autofree char *value = g_strdup(text + strlen(key) + (text[strlen(key)] != 0));
    bool is_cid = false, is_parent = false;
    uint64_t number;

    g_strstrip(key);
    g_strstrip(value);
    if (*value == '"' && value[1] && g_str_has_suffix(value, "\"")) {
        value[strlen(value) - 1] = 0;
        memmove(value, value + 1, strlen(value));
    }
    is_cid = !strcmp(key, "CID");
    is_parent = !strcmp(key, "parentCID");
    if (is_cid || is_parent) {
        if (!g_ascii_string_to_unsigned(value, 16, 0, UINT32_MAX, &number, NULL)) {
            return error_set(err, "%s '%s' is no hexadecimal number", key, value);
        }
        *(is_cid ? &d->cid : &d->parent_cid) = (uint32_t)number;
    } else if (!strcmp(key, "createType") && !d->create_type) {
        d->create_type = g_steal_pointer(&value);
    } else if (!strcmp(key, "parentFileNameHint") && !d->parent) {
        d->parent = g_steal_pointer(&value);
    }
    return true;
}

VmdkDescriptor *vmdk_descriptor_parse(const char *text, GError **err)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    VmdkDescriptor *d = g_new0(VmdkDescriptor, 1);
    bool ok = true;

    d->text = g_strdup(text);
    d->parent_cid = VMDK_NO_PARENT;
    d->lines = g_ptr_array_new_with_free_func(line_free);
    for (char **line = lines; *line && ok; line++) {
        g_strstrip(*line);
        if (**line == '#' || !**line) {
            continue;
        }
        if (is_extent(*line)) {
            VmdkLine *extent = parse_extent(*line, err);

            ok = extent != NULL;
            if (extent) {
                g_ptr_array_add(d->lines, extent);
            }
        } else {
            ok = take_value(d, *line, err);
        }
    }
    if (ok && !d->create_type) {
        ok = error_set(err, "its descriptor has no createType");
    }
    if (ok && d->lines->len > VMDK_EXTENTS_MAX) {
        ok = error_set(err, "it has more than %u extents", VMDK_EXTENTS_MAX);
    }
    if (!ok) {
        vmdk_descriptor_free(d);
        return NULL;
    }
    return d;
}

/* ---- content ids ------------------------------------------------------------------------------- */

uint32_t vmdk_new_cid(uint32_t old)
{
    uint32_t cid;

    do {
        cid = g_random_int();
    } while (cid == old || cid == VMDK_NO_PARENT || !cid);
    return cid;
}

/* The last line counts, as for the parser. */
static const char *find_cid(const char *text, size_t *len)
{
    const char *found = NULL;

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += strspn(line, " \t\r\n");
        if (g_str_has_prefix(line, "CID") && line[3 + strspn(line + 3, " \t")] == '=') {
            found = strchr(line, '=') + 1;
            *len = strcspn(found, "\r\n");
        }
    }
    return found;
}

bool vmdk_descriptor_has_cid(const VmdkDescriptor *d)
{
    size_t len;

    return find_cid(d->text, &len) != NULL;
}

char *vmdk_descriptor_with_cid(const VmdkDescriptor *d, uint32_t cid, size_t *at)
{
    size_t len = 0;
    const char *value = find_cid(d->text, &len);

    *at = (size_t)(value - d->text);
    return g_strdup_printf("%.*s%08x%s", (int)*at, d->text, cid, value + len);
}
