/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * amend of LUKS images: passphrases are added and erased. A new passphrase's key material is on the disk
 * before the header names it; an erased one's is overwritten before the header forgets it. A slot that is
 * active is filled anew while another one holds the new passphrase, so that a power cut leaves a way in.
 */
#include "backends/secret.h"
#include "block/crypto.h"
#include "util/error.h"
#include "util/util.h"

#define OVERWRITES 8

typedef struct Amend {
    int state; /* 0: active, 1: inactive */
    char *old_secret, *new_secret;
    uint64_t slot, iter_time;
    bool has_slot;
} Amend;

static bool take_options(BlockOpts *opts, const char *prefix, Amend *a, GError **err)
{
    static const char *const states[] = {"active", "inactive", NULL};
    g_autofree char *state = g_strconcat(prefix, "state", NULL), *old = g_strconcat(prefix, "old-secret", NULL);
    g_autofree char *fresh = g_strconcat(prefix, "new-secret", NULL), *slot = g_strconcat(prefix, "keyslot", NULL);
    g_autofree char *time = g_strconcat(prefix, "iter-time", NULL);

    a->state = -1;
    a->old_secret = block_opts_take(opts, old);
    a->new_secret = block_opts_take(opts, fresh);
    if (!block_opts_take_enum(opts, state, states, &a->state, err) ||
        !block_opts_take_size(opts, slot, &a->slot, &a->has_slot, err) ||
        !block_opts_take_size(opts, time, &a->iter_time, NULL, err)) {
        return false;
    }
    if (a->state < 0) {
        return error_set(err, "Parameter '%s' is missing (active, inactive)", state);
    }
    if (a->has_slot && a->slot >= LUKS_SLOTS) {
        return error_set(err, "Invalid key slot %" PRIu64 " specified, must be between 0 and %d", a->slot,
                         LUKS_SLOTS - 1);
    }
    return true;
}

static unsigned count_active(const Luks *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        n += l->slots[i].active;
    }
    return n;
}

/* ---- erasing ---------------------------------------------------------------------------------- */

static bool erase_slot(const LuksArea *area, Luks *l, const BlockCipherOps *ops, unsigned slot, GError **err)
{
    uint64_t len = align_up(luks_material_len(l), CRYPT_SECTOR);
    g_autofree uint8_t *noise = g_malloc(len);
    int ret = 0;

    for (unsigned i = 0; i < OVERWRITES && ret >= 0; i++) {
        ops->random(noise, len);
        ret = block_pwrite(area->node, area->base + (uint64_t)l->slots[slot].key_sector * CRYPT_SECTOR, noise, len, 0);
        ret = ret < 0 ? ret : block_pflush(area->node);
    }
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not overwrite LUKS key slot %u", slot);
    }
    l->slots[slot].active = false;
    l->slots[slot].iterations = 0;
    memset(l->slots[slot].salt, 0, sizeof l->slots[slot].salt);
    return luks_store(area, l, err);
}

/* The active slots that this passphrase opens, as bits. -1: error. */
static int matching_slots(const LuksArea *area, const Luks *l, const BlockCipherOps *ops, const char *passphrase,
                          GError **err)
{
    uint8_t key[CRYPT_MAX_KEY];
    int bits = 0;

    for (unsigned i = 0; i < LUKS_SLOTS && bits >= 0; i++) {
        int ret = l->slots[i].active ? luks_try_slot(area, l, ops, i, passphrase, key, err) : 0;

        bits = ret < 0 ? -1 : bits | ret << i;
    }
    explicit_bzero(key, sizeof key);
    return bits;
}

static bool erase(const LuksArea *area, Vm *vm, Luks *l, const BlockCipherOps *ops, const Amend *a, bool force,
                  GError **err)
{
    char *passphrase = NULL;
    int bits = a->has_slot ? 1 << a->slot : 0;

    if (a->new_secret) {
        return error_set(err, "'new-secret' must not be given when erasing keyslots");
    }
    if (!a->has_slot && !a->old_secret) {
        return error_set(err, "To erase keyslot(s), either explicit keyslot index or the password currently "
                              "contained in them must be given");
    }
    if (a->old_secret) {
        passphrase = secret_get_text(vm, a->old_secret, err);
        if (!passphrase) {
            return false;
        }
        int found = matching_slots(area, l, ops, passphrase, err);

        secret_free(passphrase, strlen(passphrase));
        if (found < 0) {
            return false;
        }
        if (a->has_slot && !(found & bits)) {
            return error_set(err, "The given keyslot %" PRIu64 " doesn't contain the given password or is empty",
                             a->slot);
        }
        bits = a->has_slot ? bits : found;
        if (!bits) {
            return error_set(err, "No keyslots match given (old) password for erase operation");
        }
    } else if (!l->slots[a->slot].active && !force) {
        return error_set(err, "Given keyslot %" PRIu64 " is already erased (inactive)", a->slot);
    }
    unsigned goes = 0;
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        goes += (bits >> i & 1) && l->slots[i].active;
    }
    if (goes && goes == count_active(l) && !force) {
        return error_set(err, "Attempt to erase the only active keyslot(s) %#x which will erase all the data in the "
                              "image irreversibly - refusing operation (--force lifts this)", (unsigned)bits);
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        if (bits >> i & 1 && !erase_slot(area, l, ops, i, err)) {
            return false;
        }
    }
    return true;
}

/* ---- adding ----------------------------------------------------------------------------------- */

/* LUKS_SLOTS: none. */
static unsigned free_slot(const Luks *l)
{
    unsigned slot = 0;

    while (slot < LUKS_SLOTS && l->slots[slot].active) {
        slot++;
    }
    return slot;
}

typedef struct NewKey {
    const char *passphrase;
    const uint8_t *key;
    uint64_t iter_time; /* ms */
} NewKey;

static bool fill(const LuksArea *area, Luks *l, const BlockCipherOps *ops, unsigned slot, const NewKey *new,
                 GError **err)
{
    return luks_fill_slot(area, l, ops, slot, new->passphrase, new->key, new->iter_time, err) &&
           luks_store(area, l, err);
}

/* With all slots in use the seven others remain. */
static bool refill(const LuksArea *area, Luks *l, const BlockCipherOps *ops, unsigned slot, const NewKey *new,
                   GError **err)
{
    unsigned meanwhile = free_slot(l);

    if (meanwhile == LUKS_SLOTS) {
        return fill(area, l, ops, slot, new, err);
    }
    return fill(area, l, ops, meanwhile, new, err) && fill(area, l, ops, slot, new, err) &&
           erase_slot(area, l, ops, meanwhile, err);
}

static bool add(const LuksArea *area, Vm *vm, Luks *l, const BlockCipherOps *ops, const uint8_t *key, const Amend *a,
                bool force, GError **err)
{
    unsigned slot = a->has_slot ? (unsigned)a->slot : free_slot(l);
    NewKey new = {.key = key, .iter_time = a->iter_time};
    char *passphrase;
    bool ok;

    if (!a->new_secret) {
        return error_set(err, "'new-secret' is required to activate a keyslot");
    }
    if (a->old_secret) {
        return error_set(err, "'old-secret' must not be given when activating keyslots");
    }
    if (a->has_slot && l->slots[slot].active && !force) {
        return error_set(err, "Can't update an active keyslot: erase it first, or use --force");
    }
    if (slot == LUKS_SLOTS) {
        return error_set(err, "Can't add a keyslot - all keyslots are in use");
    }
    passphrase = secret_get_text(vm, a->new_secret, err);
    if (!passphrase) {
        return false;
    }
    new.passphrase = passphrase;
    ok = l->slots[slot].active ? refill(area, l, ops, slot, &new, err) : fill(area, l, ops, slot, &new, err);
    secret_free(passphrase, strlen(passphrase));
    return ok;
}

bool luks_amend(const LuksArea *area, Vm *vm, Luks *l, BlockCrypt *crypt, BlockOpts *opts, const char *prefix,
                bool force, GError **err)
{
    const BlockCipherOps *ops = block_cipher_ops(err);
    Luks changed = *l, stored;
    Amend a = {0};
    bool ok = ops && take_options(opts, prefix, &a, err) &&
              (a.state ? erase(area, vm, &changed, ops, &a, force, err)
                       : add(area, vm, &changed, ops, block_crypt_key(crypt), &a, force, err));

    g_free(a.old_secret);
    g_free(a.new_secret);
    if (ok) {
        *l = changed;
    } else if (luks_load(area, &stored, NULL)) {
        *l = stored; /* what was written before it failed */
    }
    return ok;
}
