/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * LUKS version 1: the header, checked; key slots, opened; a new one, made. Sectors have 512 bytes, numbers
 * are big-endian.
 */
#include <stdlib.h>
#include <time.h>

#include "backends/secret.h"
#include "block/crypto.h"
#include "core/object.h"
#include "util/error.h"
#include "util/util.h"

enum {
    H_VERSION = 6,
    H_CIPHER = 8,
    H_MODE = 40,
    H_HASH = 72,
    H_PAYLOAD = 104,
    H_KEY_BYTES = 108,
    H_DIGEST = 112,
    H_DIGEST_SALT = 132,
    H_DIGEST_ITERATIONS = 164,
    H_UUID = 168,
    H_SLOTS = 208,
    SLOT_SIZE = 48,
};

#define SLOT_ACTIVE 0x00ac71f3u
#define SLOT_FREE 0x0000deadu
#define STRIPES 4000u
#define FIRST_MATERIAL 8u /* sector */
#define MATERIAL_ALIGN 8u /* sectors */
#define MIN_ITERATIONS 1000u
/*
 * Opening takes a thread of whoever asked for it, at start-up the only one. What cryptsetup and QEMU make in their two seconds is at most
 * 20 million iterations on the fastest hosts; the sum over all slots is counted in blocks of the hash, of which a long key
 * takes several an iteration.
 */
#define MAX_ITERATIONS (64u * 1024 * 1024)
#define MAX_WORK (UINT64_C(128) * 1024 * 1024)
#define DEFAULT_ITER_TIME 2000u    /* ms */
#define UNLOCK_ERROR "Invalid password, cannot unlock any keyslot"

static const uint8_t magic[6] = {'L', 'U', 'K', 'S', 0xba, 0xbe};

static const char *const hashes[] = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", NULL};
static const char *const modes[] = {"ecb", "cbc", "xts", "ctr", NULL};
static const char *const ivgens[] = {"plain", "plain64", "essiv", NULL};
/* As options name them; the number is the size of the key in bits. */
static const char *const ciphers[] = {"aes-128",     "aes-192",     "aes-256",     "cast5-128",   "serpent-128",
                                      "serpent-192", "serpent-256", "twofish-128", "twofish-256", NULL};
static const char *const families[] = {"aes", "cast5", "serpent", "twofish", NULL};

/* ---- reading the header ----------------------------------------------------------------------- */

bool luks_probe(const uint8_t *buf, size_t len)
{
    return len >= sizeof magic + 2 && !memcmp(buf, magic, sizeof magic);
}

/* The literal that equals the first len bytes at text; NULL: none. */
static const char *literal(const char *const *list, const uint8_t *text, size_t len)
{
    for (unsigned i = 0; list[i]; i++) {
        if (strlen(list[i]) == len && !memcmp(list[i], text, len)) {
            return list[i];
        }
    }
    return NULL;
}

static size_t field_len(const uint8_t *field)
{
    return strnlen((const char *)field, 32);
}

/* "xts-plain64", "cbc-essiv:sha256", "ecb". */
static bool parse_mode(Luks *l, const uint8_t *field)
{
    size_t len = field_len(field), mode = strcspn((const char *)field, "-"), iv, rest;

    if (len == 32) {
        return false;
    }
    l->spec.mode = literal(modes, field, mode);
    if (!l->spec.mode || mode == len) {
        return l->spec.mode && !strcmp(l->spec.mode, "ecb");
    }
    iv = strcspn((const char *)field + mode + 1, ":");
    l->spec.ivgen = literal(ivgens, field + mode + 1, iv);
    rest = mode + 1 + iv;
    if (!l->spec.ivgen || (rest < len) != !strcmp(l->spec.ivgen, "essiv")) {
        return false;
    }
    if (rest < len) {
        const char *hash = literal(hashes, field + rest + 1, len - rest - 1);

        if (!hash) {
            return false;
        }
        l->spec.ivgen_hash = hash;
    }
    return true;
}

static bool parse_cipher(Luks *l, const uint8_t *buf, GError **err)
{
    uint32_t key = load32_be(buf + H_KEY_BYTES);

    l->spec.cipher = literal(families, buf + H_CIPHER, field_len(buf + H_CIPHER));
    l->spec.hash = literal(hashes, buf + H_HASH, field_len(buf + H_HASH));
    l->spec.key_len = key;
    if (!l->spec.cipher || !l->spec.hash || !parse_mode(l, buf + H_MODE)) {
        return error_set(err, "LUKS: the cipher '%.32s', mode '%.32s', hash '%.32s' is unknown", buf + H_CIPHER,
                         buf + H_MODE, buf + H_HASH);
    }
    if (!key || key > CRYPT_MAX_KEY || (!strcmp(l->spec.mode, "xts") && key % 2)) {
        return error_set(err, "LUKS: a volume key of %u bytes is invalid", key);
    }
    return true;
}

uint64_t luks_material_len(const Luks *l)
{
    return (uint64_t)l->spec.key_len * STRIPES;
}

static uint64_t material_sectors(const Luks *l)
{
    return (luks_material_len(l) + CRYPT_SECTOR - 1) / CRYPT_SECTOR;
}

static bool check_slots(const Luks *l, GError **err)
{
    uint64_t sectors = material_sectors(l);

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slots[i];

        if (s->stripes != STRIPES || s->key_sector < 2 ||
            s->key_sector + sectors > l->payload_sector || (s->active && !s->iterations)) {
            return error_set(err, "LUKS: key slot %u is invalid (stripes %u, sector %u, iterations %u)", i, s->stripes,
                             s->key_sector, s->iterations);
        }
        for (unsigned j = 0; j < i; j++) {
            const LuksSlot *o = &l->slots[j];

            if (s->key_sector < o->key_sector + sectors && o->key_sector < s->key_sector + sectors) {
                return error_set(err, "LUKS: the key slots %u and %u overlap", j, i);
            }
        }
    }
    return true;
}

static bool parse(const uint8_t *buf, Luks *l, GError **err)
{
    *l = (Luks){0};
    if (!luks_probe(buf, LUKS_HEADER_SIZE)) {
        return error_set(err, "Volume is not in LUKS format");
    }
    if (load16_be(buf + H_VERSION) != 1) {
        return error_set(err, "LUKS version %u is not supported, version 1 is%s", load16_be(buf + H_VERSION),
                         load16_be(buf + H_VERSION) == 2 ? ": version 2 keeps its key slots in a JSON header, most of "
                         "them behind Argon2; 'cryptsetup convert --type luks1' turns a volume whose slots all use "
                         "PBKDF2 into version 1" : "");
    }
    if (!parse_cipher(l, buf, err)) {
        return false;
    }
    l->payload_sector = load32_be(buf + H_PAYLOAD);
    memcpy(l->digest, buf + H_DIGEST, sizeof l->digest);
    memcpy(l->digest_salt, buf + H_DIGEST_SALT, sizeof l->digest_salt);
    l->digest_iterations = load32_be(buf + H_DIGEST_ITERATIONS);
    memcpy(l->uuid, buf + H_UUID, 40);
    for (char *p = l->uuid; *p; p++) {
        *p = g_ascii_isalnum(*p) || *p == '-' ? *p : '?';
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const uint8_t *s = buf + H_SLOTS + i * SLOT_SIZE;
        uint32_t state = load32_be(s);

        if (state != SLOT_ACTIVE && state != SLOT_FREE) {
            return error_set(err, "LUKS: key slot %u has the invalid state %#x", i, state);
        }
        l->slots[i].active = state == SLOT_ACTIVE;
        l->slots[i].iterations = load32_be(s + 4);
        memcpy(l->slots[i].salt, s + 8, 32);
        l->slots[i].key_sector = load32_be(s + 40);
        l->slots[i].stripes = load32_be(s + 44);
    }
    if (!l->digest_iterations) {
        return error_set(err, "LUKS: 0 iterations of the volume key's digest are invalid");
    }
    return check_slots(l, err);
}

bool luks_load(const LuksArea *area, Luks *l, GError **err)
{
    uint8_t buf[LUKS_HEADER_SIZE];
    uint64_t end = area->node->size;
    int ret;

    if (!range_fits(area->base, sizeof buf, end) || area->size < sizeof buf) {
        return error_set(err, "Volume is not in LUKS format");
    }
    ret = block_pread(area->node, area->base, buf, sizeof buf);
    if (ret < 0) {
        return error_set_errno(err, -ret, "Could not read the LUKS header");
    }
    if (!parse(buf, l, err)) {
        return false;
    }
    if ((uint64_t)l->payload_sector * CRYPT_SECTOR > area->size) {
        return error_set(err, "LUKS: the header says that it takes %" PRIu64 " bytes; there are %" PRIu64,
                         (uint64_t)l->payload_sector * CRYPT_SECTOR, area->size);
    }
    return true;
}

/* ---- key material ------------------------------------------------------------------------------ */

/* The anti-forensic splitter's diffusion: each piece becomes a digest of its number and itself. */
static void diffuse(const BlockCipherOps *ops, const char *hash, uint8_t *key, size_t len)
{
    size_t piece = ops->hash_len(hash);
    uint8_t in[4 + 64], out[64];

    for (uint32_t i = 0; i * piece < len; i++) {
        size_t n = MIN(piece, len - i * piece);

        store32_be(in, i);
        memcpy(in + 4, key + i * piece, n);
        ops->digest(hash, in, 4 + n, out);
        memcpy(key + i * piece, out, n);
    }
    explicit_bzero(in, sizeof in);
    explicit_bzero(out, sizeof out);
}

static void xor(uint8_t *to, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        to[i] ^= from[i];
    }
}

/* key: what the stripes stand for, and back (split: their last one is made so that they do). */
static void af(const BlockCipherOps *ops, const Luks *l, uint8_t *stripes, uint8_t *key, bool split)
{
    size_t len = l->spec.key_len, last = len * (STRIPES - 1);
    uint8_t sum[CRYPT_MAX_KEY] = {0};

    if (split) {
        ops->random(stripes, last);
    }
    for (size_t at = 0; at < last; at += len) {
        xor(sum, stripes + at, len);
        diffuse(ops, l->spec.hash, sum, len);
    }
    if (split) {
        memcpy(stripes + last, key, len);
        xor(stripes + last, sum, len);
    } else {
        memcpy(key, stripes + last, len);
        xor(key, sum, len);
    }
    explicit_bzero(sum, sizeof sum);
}

static BlockCrypt *slot_cipher(Vm *vm, const Luks *l, const BlockCipherOps *ops, unsigned slot, const char *passphrase,
                               GError **err)
{
    LuksDerive d = {.hash = l->spec.hash, .pass = passphrase, .pass_len = strlen(passphrase),
                    .iterations = l->slots[slot].iterations, .out_len = l->spec.key_len};
    uint8_t key[CRYPT_MAX_KEY];
    BlockCrypt *c = NULL;

    memcpy(d.salt, l->slots[slot].salt, sizeof d.salt);
    if (luks_derive(vm, ops, &d, key, err)) {
        c = block_crypt_new(ops, &l->spec, key, err);
    }
    explicit_bzero(key, sizeof key);
    return c;
}

static bool volume_digest(Vm *vm, const Luks *l, const BlockCipherOps *ops, const uint8_t *key, uint8_t *digest, GError **err)
{
    LuksDerive d = {.hash = l->spec.hash, .pass = key, .pass_len = l->spec.key_len, .iterations = l->digest_iterations,
                    .out_len = sizeof l->digest};

    memcpy(d.salt, l->digest_salt, sizeof d.salt);
    return luks_derive(vm, ops, &d, digest, err);
}

static size_t material_bytes(const Luks *l)
{
    return material_sectors(l) * CRYPT_SECTOR;
}

static uint8_t *alloc_material(const Luks *l, GError **err)
{
    uint8_t *p = calloc(1, material_bytes(l));

    if (!p) {
        error_set(err, "There is no memory for the %zu bytes of a LUKS key slot", material_bytes(l));
    }
    return p;
}

static void free_material(const Luks *l, uint8_t *p)
{
    if (p) {
        explicit_bzero(p, material_bytes(l));
        free(p);
    }
}

int luks_try_slot(const LuksArea *area, const Luks *l, const BlockCipherOps *ops, unsigned slot,
                  const char *passphrase, uint8_t *key, GError **err)
{
    size_t len = material_bytes(l);
    uint8_t *stripes = alloc_material(l, err), digest[20];
    BlockCrypt *c = stripes ? slot_cipher(area->node->vm, l, ops, slot, passphrase, err) : NULL;
    int ret = -1;

    if (c) {
        ret = block_pread(area->node, area->base + (uint64_t)l->slots[slot].key_sector * CRYPT_SECTOR, stripes, len);
        ret = ret < 0 ? ret : block_crypt_run(c, false, 0, stripes, len);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not read LUKS key slot %u", slot);
            ret = -1;
        } else {
            af(ops, l, stripes, key, false);
            ret = !volume_digest(area->node->vm, l, ops, key, digest, err) ? -1 : !memcmp(digest, l->digest, sizeof digest);
        }
    }
    block_crypt_free(c);
    free_material(l, stripes);
    return ret;
}

static bool check_iterations(uint32_t n, const char *of, GError **err)
{
    return n <= MAX_ITERATIONS ||
           error_set(err, "LUKS: %u iterations of %s would hold up this program for minutes; at most %u are taken: "
                          "cryptsetup luksChangeKey --pbkdf-force-iterations makes slots with fewer, cryptsetup reencrypt "
                          "a new header", n, of, MAX_ITERATIONS);
}

/* At worst all slots are tried. */
static bool check_work(const Luks *l, const BlockCipherOps *ops, GError **err)
{
    const size_t digest = ops->hash_len(l->spec.hash);
    const uint64_t blocks = (l->spec.key_len + digest - 1) / MAX(digest, 1);
    uint64_t work = 0;

    if (!check_iterations(l->digest_iterations, "the volume key's digest", err)) {
        return false;
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slots[i];
        g_autofree char *name = g_strdup_printf("key slot %u", i);

        if (s->active && !check_iterations(s->iterations, name, err)) {
            return false;
        }
        work += s->active ? s->iterations * blocks + l->digest_iterations : 0;
    }
    return work <= MAX_WORK || error_set(err, "LUKS: all key slots together would hold up this program for minutes (%" PRIu64
                                              " rounds, at most %" PRIu64 " are taken): erase some with cryptsetup luksKillSlot",
                                         work, MAX_WORK);
}

BlockCrypt *luks_unlock(const LuksArea *area, const Luks *l, const char *passphrase, GError **err)
{
    const BlockCipherOps *ops = block_cipher_ops(err);
    uint8_t key[CRYPT_MAX_KEY];
    BlockCrypt *c = NULL;
    int ret = ops && check_work(l, ops, err) ? 0 : -1;

    for (unsigned i = 0; i < LUKS_SLOTS && !ret; i++) {
        ret = l->slots[i].active ? luks_try_slot(area, l, ops, i, passphrase, key, err) : 0;
    }
    if (!ret) {
        error_set(err, UNLOCK_ERROR);
    } else if (ret > 0) {
        c = block_crypt_new(ops, &l->spec, key, err);
    }
    explicit_bzero(key, sizeof key);
    return c;
}

static char *get_passphrase(Vm *vm, const char *prefix, const char *secret_id, GError **err)
{
    if (!secret_id) {
        error_set(err, "Parameter '%skey-secret' is required for cipher", prefix);
        return NULL;
    }
    return secret_get_text(vm, secret_id, err);
}

BlockCrypt *luks_unlock_secret(const LuksArea *area, const Luks *l, const char *prefix, const char *secret_id,
                               GError **err)
{
    char *passphrase = get_passphrase(area->node->vm, prefix, secret_id, err);
    BlockCrypt *c = passphrase ? luks_unlock(area, l, passphrase, err) : NULL;

    if (passphrase) {
        secret_free(passphrase, strlen(passphrase));
    }
    return c;
}

/* ---- facts ------------------------------------------------------------------------------------ */

static void add_text(json_object *o, const char *key, const char *value)
{
    json_object_object_add(o, key, json_object_new_string(value));
}

static void add_number(json_object *o, const char *key, uint64_t value)
{
    json_object_object_add(o, key, json_object_new_int64((int64_t)value));
}

json_object *luks_info(const Luks *l, const char *format)
{
    bool xts = !strcmp(l->spec.mode, "xts");
    g_autofree char *cipher = g_strdup_printf("%s-%zu", l->spec.cipher, l->spec.key_len * 8 / (xts ? 2 : 1));
    json_object *o = json_object_new_object(), *slots = json_object_new_array();

    add_text(o, "ivgen-alg", l->spec.ivgen ? l->spec.ivgen : "plain");
    if (l->spec.ivgen_hash) {
        add_text(o, "ivgen-hash-alg", l->spec.ivgen_hash);
    }
    add_text(o, "hash-alg", l->spec.hash);
    add_text(o, "cipher-alg", cipher);
    add_text(o, "uuid", l->uuid);
    if (format) {
        add_text(o, "format", format);
    }
    add_text(o, "cipher-mode", l->spec.mode);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slots[i];
        json_object *slot = json_object_new_object();

        json_object_object_add(slot, "active", json_object_new_boolean(s->active));
        if (s->active) {
            add_number(slot, "iters", s->iterations);
        }
        add_number(slot, "key-offset", (uint64_t)s->key_sector * CRYPT_SECTOR);
        if (s->active) {
            add_number(slot, "stripes", s->stripes);
        }
        json_object_array_add(slots, slot);
    }
    json_object_object_add(o, "slots", slots);
    add_number(o, "payload-offset", (uint64_t)l->payload_sector * CRYPT_SECTOR);
    add_number(o, "master-key-iters", l->digest_iterations);
    return o;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static void build(const Luks *l, uint8_t *buf)
{
    g_autofree char *mode = g_strdup_printf("%s%s%s%s%s", l->spec.mode, l->spec.ivgen ? "-" : "",
                                            l->spec.ivgen ? l->spec.ivgen : "", l->spec.ivgen_hash ? ":" : "",
                                            l->spec.ivgen_hash ? l->spec.ivgen_hash : "");

    memset(buf, 0, LUKS_HEADER_SIZE);
    memcpy(buf, magic, sizeof magic);
    store16_be(buf + H_VERSION, 1);
    memcpy(buf + H_CIPHER, l->spec.cipher, strlen(l->spec.cipher));
    memcpy(buf + H_MODE, mode, MIN(strlen(mode), 31));
    memcpy(buf + H_HASH, l->spec.hash, strlen(l->spec.hash));
    store32_be(buf + H_PAYLOAD, l->payload_sector);
    store32_be(buf + H_KEY_BYTES, (uint32_t)l->spec.key_len);
    memcpy(buf + H_DIGEST, l->digest, sizeof l->digest);
    memcpy(buf + H_DIGEST_SALT, l->digest_salt, sizeof l->digest_salt);
    store32_be(buf + H_DIGEST_ITERATIONS, l->digest_iterations);
    memcpy(buf + H_UUID, l->uuid, strlen(l->uuid));
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        uint8_t *s = buf + H_SLOTS + i * SLOT_SIZE;

        store32_be(s, l->slots[i].active ? SLOT_ACTIVE : SLOT_FREE);
        store32_be(s + 4, l->slots[i].iterations);
        memcpy(s + 8, l->slots[i].salt, 32);
        store32_be(s + 40, l->slots[i].key_sector);
        store32_be(s + 44, l->slots[i].stripes);
    }
}

bool luks_store(const LuksArea *area, const Luks *l, GError **err)
{
    uint8_t buf[2 * CRYPT_SECTOR] = {0}; /* whole sectors: key material begins behind them at the earliest */
    int ret;

    build(l, buf);
    ret = block_pwrite(area->node, area->base, buf, sizeof buf, 0);
    ret = ret < 0 ? ret : block_pflush(area->node);
    return ret >= 0 || error_set_errno(err, -ret, "Could not write the LUKS header");
}

/* How many iterations take ms milliseconds of CPU time; measured anew, machines differ. */
static bool count_iterations(const BlockCipherOps *ops, const char *hash, size_t out_len, uint64_t ms,
                             uint32_t *iterations, GError **err)
{
    uint8_t salt[32] = {0}, out[CRYPT_MAX_KEY];
    uint64_t n = 1 << 12, ns = 0;

    while (ns < 20 * 1000 * 1000) {
        struct timespec before, after;

        n *= 2;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
        if (!ops->pbkdf2(hash, "passphrase", 10, salt, sizeof salt, n, out, out_len, err)) {
            return false;
        }
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
        ns = (uint64_t)(after.tv_sec - before.tv_sec) * 1000000000 + (uint64_t)after.tv_nsec - (uint64_t)before.tv_nsec;
    }
    const double wanted = (double)n * 1e6 * (double)ms / (double)ns;
    if (wanted > MAX_ITERATIONS && ms > DEFAULT_ITER_TIME) {
        return error_set(err, "iter-time=%" PRIu64 ": %.0f iterations take that long here, but volumes with more than %u are not "
                              "opened; choose a shorter time", ms, wanted, MAX_ITERATIONS);
    }
    *iterations = (uint32_t)CLAMP(wanted, MIN_ITERATIONS, MAX_ITERATIONS);
    return true;
}

/* The slot becomes active in *l; the caller stores that, when the key material is on the disk. */
bool luks_fill_slot(const LuksArea *area, Luks *l, const BlockCipherOps *ops, unsigned slot, const char *passphrase,
                    const uint8_t *key, uint64_t iter_time, GError **err)
{
    size_t len = material_bytes(l);
    uint8_t *stripes = alloc_material(l, err), copy[CRYPT_MAX_KEY];
    LuksSlot *s = &l->slots[slot];
    BlockCrypt *c = NULL;
    int ret = -ENOMEM;

    ops->random(s->salt, sizeof s->salt);
    if (stripes && count_iterations(ops, l->spec.hash, l->spec.key_len, iter_time ? iter_time : DEFAULT_ITER_TIME,
                                    &s->iterations, err)) {
        c = slot_cipher(area->node->vm, l, ops, slot, passphrase, err);
    }
    if (c) {
        memcpy(copy, key, l->spec.key_len);
        af(ops, l, stripes, copy, true);
        explicit_bzero(copy, sizeof copy);
        ret = block_crypt_run(c, true, 0, stripes, len);
        ret = ret < 0 ? ret
                      : block_pwrite(area->node, area->base + (uint64_t)s->key_sector * CRYPT_SECTOR, stripes, len, 0);
        ret = ret < 0 ? ret : block_pflush(area->node);
        if (ret < 0) {
            error_set_errno(err, -ret, "Could not write LUKS key slot %u", slot);
        }
    }
    block_crypt_free(c);
    free_material(l, stripes);
    s->active = ret >= 0;
    return ret >= 0;
}

/* ---- a new one ---------------------------------------------------------------------------------- */

static bool take_name(BlockOpts *opts, const char *prefix, const char *name, const char *const *list, int *value,
                      GError **err)
{
    g_autofree char *key = g_strconcat(prefix, name, NULL);
    g_autofree char *text = g_strdup(block_opts_peek(opts, key));

    *value = -1;
    if (block_opts_take_enum(opts, key, list, value, NULL)) {
        return true;
    }
    return error_set(err, "Parameter '%s' does not accept value '%s'", key, text);
}

bool luks_take_create(BlockOpts *opts, const char *prefix, LuksCreate *o, GError **err)
{
    g_autofree char *secret = g_strconcat(prefix, "key-secret", NULL);
    g_autofree char *time = g_strconcat(prefix, "iter-time", NULL);

    *o = (LuksCreate){0};
    o->secret_id = block_opts_take(opts, secret);
    return take_name(opts, prefix, "cipher-alg", ciphers, &o->cipher, err) &&
           take_name(opts, prefix, "cipher-mode", modes, &o->mode, err) &&
           take_name(opts, prefix, "ivgen-alg", ivgens, &o->ivgen, err) &&
           take_name(opts, prefix, "ivgen-hash-alg", hashes, &o->ivgen_hash, err) &&
           take_name(opts, prefix, "hash-alg", hashes, &o->hash, err) &&
           block_opts_take_size(opts, time, &o->iter_time, NULL, err);
}

void luks_create_clear(LuksCreate *o)
{
    g_clear_pointer(&o->secret_id, g_free);
    if (o->passphrase) {
        secret_free(o->passphrase, strlen(o->passphrase));
        o->passphrase = NULL;
    }
}

/* What o says, with the defaults of QEMU: aes-256, xts, plain64, sha256. */
static bool spec_from_options(const LuksCreate *o, Luks *l, GError **err)
{
    const char *cipher = o->cipher < 0 ? "aes-256" : ciphers[o->cipher];
    size_t family = strcspn(cipher, "-");

    *l = (Luks){0};
    l->spec.cipher = literal(families, (const uint8_t *)cipher, family);
    l->spec.mode = o->mode < 0 ? "xts" : modes[o->mode];
    l->spec.hash = o->hash < 0 ? "sha256" : hashes[o->hash];
    l->spec.key_len = (size_t)g_ascii_strtoull(cipher + family + 1, NULL, 10) / 8;
    if (!strcmp(l->spec.mode, "xts")) {
        l->spec.key_len *= 2;
    }
    l->spec.ivgen = o->ivgen < 0 ? "plain64" : ivgens[o->ivgen]; /* of ecb too: QEMU opens no header without one */
    if (!strcmp(l->spec.ivgen, "essiv")) {
        l->spec.ivgen_hash = o->ivgen_hash < 0 ? "sha256" : hashes[o->ivgen_hash];
    } else if (o->ivgen_hash >= 0) {
        return error_set(err, "ivgen-hash-alg is for ivgen-alg=essiv only");
    }
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        l->slots[i].stripes = STRIPES;
        l->slots[i].key_sector = FIRST_MATERIAL + i * (uint32_t)align_up(material_sectors(l), MATERIAL_ALIGN);
    }
    l->payload_sector = FIRST_MATERIAL + LUKS_SLOTS * (uint32_t)align_up(material_sectors(l), MATERIAL_ALIGN);
    return true;
}

bool luks_create_size(const LuksCreate *o, uint64_t *size, GError **err)
{
    Luks l;

    if (!spec_from_options(o, &l, err)) {
        return false;
    }
    *size = (uint64_t)l.payload_sector * CRYPT_SECTOR;
    return true;
}

bool luks_prepare_create(Vm *vm, LuksCreate *o, const char *prefix, GError **err)
{
    uint8_t key[CRYPT_MAX_KEY];
    BlockCrypt *probe;
    Luks l;

    o->ops = block_cipher_ops(err);
    if (!o->ops || !spec_from_options(o, &l, err)) {
        return false;
    }
    o->ops->random(key, l.spec.key_len);
    probe = block_crypt_new(o->ops, &l.spec, key, err); /* is there such a cipher? */
    if (!probe) {
        return false;
    }
    block_crypt_free(probe);
    o->passphrase = get_passphrase(vm, prefix, o->secret_id, err);
    return o->passphrase != NULL;
}

bool luks_format(const LuksArea *area, const LuksCreate *o, GError **err)
{
    uint8_t key[CRYPT_MAX_KEY];
    g_autofree char *uuid = g_uuid_string_random();
    uint64_t time = o->iter_time ? o->iter_time : DEFAULT_ITER_TIME;
    bool ok;
    Luks l;

    if (!spec_from_options(o, &l, err)) {
        return false;
    }
    o->ops->random(key, l.spec.key_len);
    g_strlcpy(l.uuid, uuid, sizeof l.uuid);
    o->ops->random(l.digest_salt, sizeof l.digest_salt);
    ok = count_iterations(o->ops, l.spec.hash, sizeof l.digest, MAX(time / 8, 1), &l.digest_iterations, err) &&
         volume_digest(area->node->vm, &l, o->ops, key, l.digest, err) &&
         luks_fill_slot(area, &l, o->ops, 0, o->passphrase, key, time, err) && luks_store(area, &l, err);
    explicit_bzero(key, sizeof key);
    return ok;
}
