/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encrypted images: LUKS version 1 ("LUKS On-Disk Format Specification 1.2.3"), as a driver of its own and
 * inside qcow2.
 *
 * A LUKS area begins with a header: which cipher, a digest of the volume key, and eight slots, each with
 * the volume key encrypted by a passphrase. What computes comes from a module (the type "block-cipher"),
 * so that only who opens such an image loads a library for it.
 */
#ifndef BLOCK_CRYPTO_H
#define BLOCK_CRYPTO_H

#include "block/block_int.h"

#define CRYPT_SECTOR 512
#define CRYPT_MAX_KEY 64

/* ---- what the module gives -------------------------------------------------------------------- */

typedef struct CryptSpec {
    const char *cipher;     /* "aes", "serpent", "twofish", "cast5" */
    const char *mode;       /* "xts", "cbc", "ctr", "ecb" */
    const char *ivgen;      /* "plain", "plain64", "essiv"; ecb, which uses none, may have NULL */
    const char *ivgen_hash; /* essiv: "sha256" */
    const char *hash;       /* of passphrases and the volume key */
    size_t key_len;         /* bytes of the volume key; xts: of both halves */
} CryptSpec;

typedef struct BlockCipherOps {
    /* A cipher for one thread at a time. NULL with *err: there is no such cipher, or not with such a key. */
    void *(*open)(const CryptSpec *spec, const uint8_t *key, GError **err);
    void (*close)(void *cipher);
    /* Whole sectors in place; sector: the first one's number. 0 or -EIO. */
    int (*crypt)(void *cipher, bool encrypt, uint64_t sector, uint8_t *data, size_t len);
    /* Bytes of a digest; 0: unknown hash. */
    size_t (*hash_len)(const char *hash);
    void (*digest)(const char *hash, const void *data, size_t len, uint8_t *out);
    bool (*pbkdf2)(const char *hash, const void *pass, size_t pass_len, const uint8_t *salt, size_t salt_len,
                   uint64_t iterations, uint8_t *out, size_t out_len, GError **err);
    void (*random)(void *out, size_t len);
} BlockCipherOps;

/* Loads the module: main thread. NULL with *err. */
const BlockCipherOps *block_cipher_ops(GError **err);

/* ---- encrypted requests (block/crypt_io.c) ------------------------------------------------------ */

typedef struct BlockCrypt BlockCrypt;
/* key is copied. */
BlockCrypt *block_crypt_new(const BlockCipherOps *ops, const CryptSpec *spec, const uint8_t *key, GError **err);
void block_crypt_free(BlockCrypt *c); /* nothing in flight; NULL is fine */
/* 0 or -EIO; in the caller's thread. */
int block_crypt_run(BlockCrypt *c, bool encrypt, uint64_t sector, uint8_t *data, size_t len);
const uint8_t *block_crypt_key(const BlockCrypt *c);
/* Gives io (READ or WRITE, whole sectors) to child, with what is stored there encrypted; sector: the
 * number of its first one for the cipher. node: who submits. Owner; io->done as usual. */
void block_crypt_submit(BlockCrypt *c, BlockNode *node, BlockNode *child, BlockIo *io, uint64_t sector);
/* What such a node begins each request with. Requests that begin or end within a sector are taken apart,
 * and submitted to node's driver again; a change of part of a sector and other changes of that sector wait
 * for each other. True: taken over; node's driver will see it again. Owner. */
bool block_crypt_take(BlockCrypt *c, BlockNode *node, BlockIo *io);

/* ---- LUKS (block/luks_header.c, block/luks_slots.c) --------------------------------------------- */

#define LUKS_SLOTS 8
#define LUKS_HEADER_SIZE 592

typedef struct LuksSlot {
    bool active;
    uint32_t iterations;
    uint8_t salt[32];
    uint32_t key_sector; /* of its key material */
    uint32_t stripes;
} LuksSlot;

typedef struct Luks {
    CryptSpec spec;
    uint32_t payload_sector;
    uint8_t digest[20], digest_salt[32];
    uint32_t digest_iterations;
    char uuid[41];
    LuksSlot slots[LUKS_SLOTS];
} Luks;

/* The area lies in node from base on, size bytes (UINT64_MAX: to its end). */
typedef struct LuksArea {
    BlockNode *node;
    uint64_t base, size;
} LuksArea;

/* Does this begin a LUKS area? */
bool luks_probe(const uint8_t *buf, size_t len);
bool luks_load(const LuksArea *area, Luks *luks, GError **err);
/* Finds the volume key with this passphrase. Takes seconds of CPU time, as it should. */
BlockCrypt *luks_unlock(const LuksArea *area, const Luks *luks, const char *passphrase, GError **err);
/* The same with the secret of this id. NULL id: refused, naming the option prefix + "key-secret". */
BlockCrypt *luks_unlock_secret(const LuksArea *area, const Luks *luks, const char *prefix,
                               const char *secret_id, GError **err);
/* QAPI's QCryptoBlockInfoLUKS, with a member "format" unless that is NULL. The caller puts it. */
json_object *luks_info(const Luks *luks, const char *format);

typedef struct LuksCreate {
    int cipher, mode, ivgen, ivgen_hash, hash; /* indexes in luks_names; -1: the default */
    uint64_t iter_time;                        /* ms; 0: the default */
    char *secret_id;
    const BlockCipherOps *ops; /* from luks_prepare_create on */
    char *passphrase;          /* likewise */
} LuksCreate;

/* Takes the options prefix + "cipher-alg" and so on out of opts. luks_create_clear frees. */
bool luks_take_create(BlockOpts *opts, const char *prefix, LuksCreate *o, GError **err);
void luks_create_clear(LuksCreate *o);
/* Bytes before the payload. */
bool luks_create_size(const LuksCreate *o, uint64_t *size, GError **err);
/* Looks up what is needed for it: the module, the cipher, the secret. Before anything is made; main thread. */
bool luks_prepare_create(Vm *vm, LuksCreate *o, const char *prefix, GError **err);
/* Writes a header with a new volume key and one passphrase; the area reads as zeros before. Any thread. */
bool luks_format(const LuksArea *area, const LuksCreate *o, GError **err);

/* Options of amend: prefix + "state", "new-secret", "old-secret", "keyslot", "iter-time". */
bool luks_amend(const LuksArea *area, Vm *vm, Luks *luks, BlockCrypt *crypt, BlockOpts *opts,
                const char *prefix, bool force, GError **err);

/* PBKDF2. Fails where a thread must do it first (block/slow.h); threads without the VM lock do it. */
typedef struct LuksDerive {
    const char *hash;
    const void *pass;
    size_t pass_len;
    uint8_t salt[32];
    uint32_t iterations;
    size_t out_len; /* at most CRYPT_MAX_KEY */
} LuksDerive;
bool luks_derive(Vm *vm, const BlockCipherOps *ops, const LuksDerive *what, uint8_t *out, GError **err);

/* Of luks_header.c for luks_slots.c. */
bool luks_store(const LuksArea *area, const Luks *luks, GError **err);
bool luks_fill_slot(const LuksArea *area, Luks *luks, const BlockCipherOps *ops, unsigned slot,
                    const char *passphrase, const uint8_t *key, uint64_t iter_time, GError **err);
/* 1: passphrase opens this slot, key has the volume key; 0: it does not; -1 with *err. */
int luks_try_slot(const LuksArea *area, const Luks *luks, const BlockCipherOps *ops, unsigned slot,
                  const char *passphrase, uint8_t *key, GError **err);
uint64_t luks_material_len(const Luks *luks);

#endif
