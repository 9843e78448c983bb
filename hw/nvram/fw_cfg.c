/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the firmware configuration device holds: items by key, files by name, and contents that are
 * made when they are asked for. hw/nvram/fw_cfg.h has the overview.
 *
 * The device's mutex guards contents against the guest's ports, which run without the VM lock. Lock
 * order: VM lock, then the mutex; a content that must be made first takes the VM lock before.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "hw/nvram/fw_cfg_internal.h"

/* ---- items ------------------------------------------------------------------------- */

FwCfgItem *fw_cfg_item_new(void)
{
    FwCfgItem *item = g_new0(FwCfgItem, 1);

    item->fd = -1;
    return item;
}

void fw_cfg_item_free(FwCfgItem *item)
{
    if (item) {
        g_clear_pointer(&item->bytes, g_bytes_unref);
        if (item->fd >= 0) {
            close(item->fd);
        }
        if (item->source && item->source->release) {
            item->source->release(item->opaque);
        }
        g_free(item);
    }
}

void fw_cfg_file_free(gpointer data)
{
    FwCfgFile *file = data;

    g_free(file->name);
    fw_cfg_item_free(file->item);
    g_free(file);
}

uint32_t fw_cfg_item_size(const FwCfgItem *item)
{
    return item->fd >= 0 ? item->fd_size : item->bytes ? (uint32_t)g_bytes_get_size(item->bytes) : 0;
}

bool fw_cfg_item_unmade(const FwCfgItem *item)
{
    return item && item->source && (!item->bytes || item->only_sized);
}

FwCfgItem *fw_cfg_item_find(FwCfg *fw, uint16_t key)
{
    unsigned index = key & FW_CFG_KEY_MASK;

    if (key == FW_CFG_INVALID) {
        return NULL;
    }
    if (key & FW_CFG_KEY_ARCH) {
        return index < FW_CFG_ARCH_ITEMS ? fw->arch[index] : NULL;
    }
    if (index < FW_CFG_FILE_FIRST) {
        return fw->common[index];
    }
    index -= FW_CFG_FILE_FIRST;
    return index < fw->files->len ? ((FwCfgFile *)g_ptr_array_index(fw->files, index))->item : NULL;
}

FwCfgFile *fw_cfg_file_find(const FwCfg *fw, const char *name)
{
    for (unsigned i = 0; i < fw->files->len; i++) {
        FwCfgFile *file = g_ptr_array_index(fw->files, i);
        if (!strcmp(file->name, name)) {
            return file;
        }
    }
    return NULL;
}

/* VM lock. The content is made outside the mutex: making it may add or change other items. */
static void item_make(FwCfg *fw, FwCfgItem *item)
{
    GByteArray *out = g_byte_array_new();

    item->source->fill(item->opaque, out);
    lock_acquire(&fw->mutex);
    if (item->bytes && !item->only_sized) {
        g_byte_array_unref(out);    /* it was made meanwhile, as a part of the same group */
    } else {
        g_clear_pointer(&item->bytes, g_bytes_unref);
        item->bytes = g_byte_array_free_to_bytes(out);
    }
    item->only_sized = false;
    lock_release(&fw->mutex);
}

/* For its size: firmware reads the directory first, and moves devices before it reads the file. The file is made again
 * then. VM lock. */
static void file_make_for_size(FwCfg *fw, FwCfgFile *file)
{
    if (fw_cfg_item_unmade(file->item) && !file->item->bytes) {
        item_make(fw, file->item);
        file->item->only_sized = true;
    }
}

void fw_cfg_foreach_file(FwCfg *fw, void (*fn)(const char *name, uint64_t size, void *opaque), void *opaque)
{
    for (unsigned i = 0; i < fw->files->len; i++) {
        FwCfgFile *file = g_ptr_array_index(fw->files, i);

        file_make_for_size(fw, file);
        fn(file->name, fw_cfg_item_size(file->item), opaque);
    }
}

/* VM lock: the directory (sizes of all files). */
static void directory_make(FwCfg *fw)
{
    size_t size = 4 + (size_t)fw->file_slots * 64;
    uint8_t *dir = g_malloc0(size);
    FwCfgItem *item = fw->common[FW_CFG_FILE_DIR];

    for (unsigned i = 0; i < fw->files->len; i++) {
        file_make_for_size(fw, g_ptr_array_index(fw->files, i));
    }
    lock_acquire(&fw->mutex);
    store32_be(dir, fw->files->len);
    for (unsigned i = 0; i < fw->files->len; i++) {
        FwCfgFile *file = g_ptr_array_index(fw->files, i);
        uint8_t *entry = dir + 4 + 64 * (size_t)i;

        store32_be(entry, fw_cfg_item_size(file->item));
        store16_be(entry + 4, (uint16_t)(FW_CFG_FILE_FIRST + i));
        g_strlcpy((char *)entry + 8, file->name, FW_CFG_MAX_FILE_PATH);
    }
    g_clear_pointer(&item->bytes, g_bytes_unref);
    item->bytes = g_bytes_new_take(dir, size);
    lock_release(&fw->mutex);
}

void fw_cfg_item_prepare(FwCfg *fw, uint16_t key)
{
    Vm *vm = fw->dev.vm;
    bool is_dir = key == FW_CFG_FILE_DIR, need, locked;
    FwCfgItem *item;

    lock_acquire(&fw->mutex);
    item = fw_cfg_item_find(fw, key);
    need = fw_cfg_item_unmade(item) || (is_dir && !item->bytes);
    lock_release(&fw->mutex);
    if (!need) {
        return;
    }
    locked = vm_locked(vm);
    if (!locked) {
        vm_lock(vm);
    }
    item = fw_cfg_item_find(fw, key);
    if (is_dir) {
        directory_make(fw);
    } else if (fw_cfg_item_unmade(item)) {
        item_make(fw, item);
    }
    if (!locked) {
        vm_unlock(vm);
    }
}

void fw_cfg_item_fd_read(const FwCfgItem *item, uint32_t offset, uint8_t *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pread(item->fd, buf + done, len - done, (off_t)(item->fd_offset + offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            memset(buf + done, 0, len - done);
            return;
        }
        done += (size_t)n;
    }
}

/* ---- adding items ------------------------------------------------------------------------- */

static FwCfgItem **item_slot(FwCfg *fw, uint16_t key)
{
    unsigned index = key & FW_CFG_KEY_MASK;

    g_assert(index < (key & FW_CFG_KEY_ARCH ? FW_CFG_ARCH_ITEMS : FW_CFG_FILE_FIRST));
    return key & FW_CFG_KEY_ARCH ? &fw->arch[index] : &fw->common[index];
}

static void item_install(FwCfg *fw, uint16_t key, FwCfgItem *item)
{
    FwCfgItem **slot = item_slot(fw, key), *old = *slot;

    lock_acquire(&fw->mutex);
    *slot = item;
    fw->cached = NULL;
    lock_release(&fw->mutex);
    fw_cfg_item_free(old);
}

void fw_cfg_add_bytes(FwCfg *fw, uint16_t key, const void *data, size_t len)
{
    FwCfgItem *item = fw_cfg_item_new();

    item->bytes = g_bytes_new(data, len);
    item_install(fw, key, item);
}

void fw_cfg_add_string(FwCfg *fw, uint16_t key, const char *value)
{
    fw_cfg_add_bytes(fw, key, value, strlen(value) + 1);
}

void fw_cfg_set_u16(FwCfg *fw, uint16_t key, uint16_t value)
{
    uint8_t data[2];

    store16_le(data, value);
    fw_cfg_add_bytes(fw, key, data, sizeof data);
}

void fw_cfg_set_u32(FwCfg *fw, uint16_t key, uint32_t value)
{
    uint8_t data[4];

    store32_le(data, value);
    fw_cfg_add_bytes(fw, key, data, sizeof data);
}

void fw_cfg_set_u64(FwCfg *fw, uint16_t key, uint64_t value)
{
    uint8_t data[8];

    store64_le(data, value);
    fw_cfg_add_bytes(fw, key, data, sizeof data);
}

static FwCfgItem *item_from_fd(int fd, uint64_t offset, uint32_t len)
{
    FwCfgItem *item = fw_cfg_item_new();

    item->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (item->fd < 0) {
        g_free(item);
        return NULL;
    }
    item->fd_offset = offset;
    item->fd_size = len;
    return item;
}

void fw_cfg_add_fd(FwCfg *fw, uint16_t key, int fd, uint64_t offset, uint32_t len)
{
    FwCfgItem *item = item_from_fd(fd, offset, len);

    if (!item) {
        uint8_t *data = g_malloc0(len);     /* out of descriptors: read it now */
        FwCfgItem range = {.fd = fd, .fd_offset = offset, .fd_size = len};

        fw_cfg_item_fd_read(&range, 0, data, len);
        item = fw_cfg_item_new();
        item->bytes = g_bytes_new_take(data, len);
    }
    item_install(fw, key, item);
}

/* Takes item over, also when it fails. */
static bool file_install(FwCfg *fw, const char *name, FwCfgItem *item, GError **err)
{
    FwCfgFile *file;
    unsigned at = 0;

    if (!*name || strlen(name) >= FW_CFG_MAX_FILE_PATH) {
        fw_cfg_item_free(item);
        return error_set(err, "fw_cfg file name '%s' must have 1 to %d characters", name, FW_CFG_MAX_FILE_PATH - 1);
    }
    if (fw_cfg_file_find(fw, name)) {
        fw_cfg_item_free(item);
        return error_set(err, "fw_cfg file name '%s' is already in use; leave one of them out", name);
    }
    if (fw->files->len >= fw->file_slots) {
        fw_cfg_item_free(item);
        return error_set(err, "fw_cfg file '%s': all %u file slots are taken; fw_cfg_io.x-file-slots=%u gives more",
                         name, fw->file_slots, fw->file_slots * 2u);
    }
    file = g_new0(FwCfgFile, 1);
    file->name = g_strdup(name);
    file->item = item;
    lock_acquire(&fw->mutex);
    while (at < fw->files->len && strcmp(((FwCfgFile *)g_ptr_array_index(fw->files, at))->name, name) < 0) {
        at++;
    }
    g_ptr_array_insert(fw->files, (int)at, file);
    g_clear_pointer(&fw->common[FW_CFG_FILE_DIR]->bytes, g_bytes_unref);
    lock_release(&fw->mutex);
    return true;
}

bool fw_cfg_add_file(FwCfg *fw, const char *name, const void *data, size_t len, GError **err)
{
    FwCfgItem *item = fw_cfg_item_new();

    item->bytes = g_bytes_new(data, len);
    return file_install(fw, name, item, err);
}

bool fw_cfg_add_file_source(FwCfg *fw, const char *name, const FwCfgSource *source, void *opaque, GError **err)
{
    FwCfgItem *item = fw_cfg_item_new();

    item->source = source;
    item->opaque = opaque;
    return file_install(fw, name, item, err);
}

bool fw_cfg_add_file_fd(FwCfg *fw, const char *name, int fd, uint64_t offset, uint32_t len, GError **err)
{
    FwCfgItem *item = item_from_fd(fd, offset, len);

    if (!item) {
        return error_set_errno(err, errno, "fw_cfg file '%s'", name);
    }
    return file_install(fw, name, item, err);
}

bool fw_cfg_set_file(FwCfg *fw, const char *name, const void *data, size_t len, GError **err)
{
    FwCfgFile *file = fw_cfg_file_find(fw, name);
    FwCfgItem *item, *old;

    if (!file) {
        return fw_cfg_add_file(fw, name, data, len, err);
    }
    item = fw_cfg_item_new();
    item->bytes = g_bytes_new(data, len);
    lock_acquire(&fw->mutex);
    old = file->item;
    file->item = item;
    fw->cached = NULL;
    g_clear_pointer(&fw->common[FW_CFG_FILE_DIR]->bytes, g_bytes_unref);
    lock_release(&fw->mutex);
    fw_cfg_item_free(old);
    return true;
}

bool fw_cfg_has_file(const FwCfg *fw, const char *name)
{
    return fw_cfg_file_find(fw, name) != NULL;
}

bool fw_cfg_has_dma(const FwCfg *fw)
{
    return fw->dma_enabled;
}

static GBytes *item_content(FwCfgItem *item)
{
    uint8_t *data;

    if (item->fd < 0) {
        return g_bytes_ref(item->bytes);
    }
    data = g_malloc(item->fd_size);
    fw_cfg_item_fd_read(item, 0, data, item->fd_size);
    return g_bytes_new_take(data, item->fd_size);
}

GBytes *fw_cfg_key_content(FwCfg *fw, uint16_t key)
{
    FwCfgItem *item;

    fw_cfg_item_prepare(fw, key);
    item = fw_cfg_item_find(fw, key);
    return item ? item_content(item) : NULL;
}

GBytes *fw_cfg_file_content(FwCfg *fw, const char *name)
{
    FwCfgFile *file = fw_cfg_file_find(fw, name);

    if (!file) {
        return NULL;
    }
    if (fw_cfg_item_unmade(file->item)) {
        item_make(fw, file->item);
    }
    return item_content(file->item);
}
