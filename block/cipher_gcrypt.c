/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ciphers, hashes and PBKDF2 of encrypted images, by libgcrypt: in a module, because hardly a VM needs it. */
#include <errno.h>
#include <gcrypt.h>
#include <string.h>

#include "block/crypto.h"
#include "util/error.h"
#include "util/util.h"

typedef struct Cipher {
    gcry_cipher_hd_t data, essiv;
    unsigned block;    /* bytes of an IV */
    bool ecb, ctr;
    bool wide;         /* 64 bits of the sector's number count (plain: 32) */
} Cipher;

/* ---- names ---------------------------------------------------------------------------------- */

static int find_hash(const char *name)
{
    static const char *const known[] = {"sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", "md5"};
    static const int algos[] = {GCRY_MD_SHA1,   GCRY_MD_SHA224, GCRY_MD_SHA256, GCRY_MD_SHA384,
                                GCRY_MD_SHA512, GCRY_MD_RMD160, GCRY_MD_MD5};

    for (unsigned i = 0; name && i < G_N_ELEMENTS(known); i++) {
        if (!strcmp(name, known[i])) {
            return algos[i];
        }
    }
    return 0;
}

static int find_cipher(const char *name, size_t key_len)
{
    static const struct {
        const char *name;
        size_t key_len;
        int algo;
    } known[] = {
        {"aes", 16, GCRY_CIPHER_AES128},         {"aes", 24, GCRY_CIPHER_AES192},
        {"aes", 32, GCRY_CIPHER_AES256},         {"serpent", 16, GCRY_CIPHER_SERPENT128},
        {"serpent", 24, GCRY_CIPHER_SERPENT192}, {"serpent", 32, GCRY_CIPHER_SERPENT256},
        {"twofish", 16, GCRY_CIPHER_TWOFISH128}, {"twofish", 32, GCRY_CIPHER_TWOFISH},
        {"cast5", 16, GCRY_CIPHER_CAST5},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        if (!strcmp(name, known[i].name) && key_len == known[i].key_len) {
            return known[i].algo;
        }
    }
    return 0;
}

static int find_mode(const char *name)
{
    return !strcmp(name, "xts")   ? GCRY_CIPHER_MODE_XTS
           : !strcmp(name, "cbc") ? GCRY_CIPHER_MODE_CBC
           : !strcmp(name, "ctr") ? GCRY_CIPHER_MODE_CTR
           : !strcmp(name, "ecb") ? GCRY_CIPHER_MODE_ECB
                                  : 0;
}

/* ---- ciphers -------------------------------------------------------------------------------- */

static void cipher_close(void *opaque)
{
    Cipher *c = opaque;

    gcry_cipher_close(c->data); /* NULL is fine */
    gcry_cipher_close(c->essiv);
    g_free(c);
}

/* ESSIV encrypts the sector's number with a digest of the key. */
static gcry_error_t open_essiv(Cipher *c, const CryptSpec *spec, const uint8_t *key)
{
    int hash = find_hash(spec->ivgen_hash);
    unsigned len = hash ? gcry_md_get_algo_dlen(hash) : 0;
    uint8_t salt[64];
    gcry_error_t e = GPG_ERR_DIGEST_ALGO;

    if (len && len <= sizeof salt) {
        gcry_md_hash_buffer(hash, salt, key, spec->key_len);
        e = gcry_cipher_open(&c->essiv, find_cipher(spec->cipher, len), GCRY_CIPHER_MODE_ECB, 0);
        e = e ? e : gcry_cipher_setkey(c->essiv, salt, len);
        explicit_bzero(salt, sizeof salt);
    }
    return e;
}

static void *cipher_open(const CryptSpec *spec, const uint8_t *key, GError **err)
{
    bool xts = !strcmp(spec->mode, "xts");
    int algo = find_cipher(spec->cipher, xts ? spec->key_len / 2 : spec->key_len), mode = find_mode(spec->mode);
    Cipher *c = g_new0(Cipher, 1);
    gcry_error_t e = algo && mode ? gcry_cipher_open(&c->data, algo, mode, 0) : GPG_ERR_CIPHER_ALGO;

    e = e ? e : gcry_cipher_setkey(c->data, key, spec->key_len);
    if (!e && spec->ivgen && !strcmp(spec->ivgen, "essiv")) {
        e = open_essiv(c, spec, key);
    }
    if (e) {
        error_set(err, "The cipher %s with mode %s and a key of %zu bits cannot be used: %s", spec->cipher, spec->mode,
                  spec->key_len * 8, gcry_strerror(e));
        cipher_close(c);
        return NULL;
    }
    c->block = (unsigned)gcry_cipher_get_algo_blklen(algo);
    c->ecb = mode == GCRY_CIPHER_MODE_ECB;
    c->ctr = mode == GCRY_CIPHER_MODE_CTR;
    c->wide = spec->ivgen && strcmp(spec->ivgen, "plain");
    return c;
}

static gcry_error_t set_iv(Cipher *c, uint64_t sector)
{
    uint8_t iv[16] = {0};

    if (c->ecb) {
        return 0;
    }
    store64_le(iv, c->wide ? sector : (uint32_t)sector);
    if (c->essiv) {
        gcry_error_t e = gcry_cipher_encrypt(c->essiv, iv, c->block, NULL, 0);

        if (e) {
            return e;
        }
    }
    return c->ctr ? gcry_cipher_setctr(c->data, iv, c->block) : gcry_cipher_setiv(c->data, iv, c->block);
}

static int cipher_crypt(void *opaque, bool encrypt, uint64_t sector, uint8_t *data, size_t len)
{
    Cipher *c = opaque;
    gcry_error_t e = 0;

    for (size_t at = 0; at < len && !e; at += CRYPT_SECTOR, sector++) {
        e = set_iv(c, sector);
        e = e         ? e
            : encrypt ? gcry_cipher_encrypt(c->data, data + at, CRYPT_SECTOR, NULL, 0)
                      : gcry_cipher_decrypt(c->data, data + at, CRYPT_SECTOR, NULL, 0);
    }
    return e ? -EIO : 0;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static size_t hash_len(const char *hash)
{
    int algo = find_hash(hash);

    return algo ? gcry_md_get_algo_dlen(algo) : 0;
}

static void digest(const char *hash, const void *data, size_t len, uint8_t *out)
{
    gcry_md_hash_buffer(find_hash(hash), out, data, len);
}

static bool pbkdf2(const char *hash, const void *pass, size_t pass_len, const uint8_t *salt, size_t salt_len,
                   uint64_t iterations, uint8_t *out, size_t out_len, GError **err)
{
    gcry_error_t e = gcry_kdf_derive(pass, pass_len, GCRY_KDF_PBKDF2, find_hash(hash), salt, salt_len,
                                     (unsigned long)iterations, out_len, out);

    return !e || error_set(err, "Cannot derive a key from the passphrase: %s", gcry_strerror(e));
}

static void random_bytes(void *out, size_t len)
{
    gcry_randomize(out, len, GCRY_STRONG_RANDOM);
}

static const BlockCipherOps cipher_ops = {
    .open = cipher_open,
    .close = cipher_close,
    .crypt = cipher_crypt,
    .hash_len = hash_len,
    .digest = digest,
    .pbkdf2 = pbkdf2,
    .random = random_bytes,
};

/* Once, before any other use: key material is wiped by us, locked memory would be too small for it. */
__attribute__((constructor)) static void init_library(void)
{
    if (!gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
        gcry_check_version(NULL);
        gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
        gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
    }
}

KILN_TYPE(block_cipher) = {
    .name = "block-cipher",
    .parent = "object",
    .abstract = true,
    .ops = &cipher_ops,
};
