/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * secret: raw or base64, given as data or in a file, and possibly encrypted by another secret (AES-256-CBC with
 * PKCS#7 padding, keyid and iv), so that what stands on a command line or in a log is of no use to others.
 * secret_keyring: the same from a key that the kernel keeps (keyrings(7)), by its serial number; the system calls are made here,
 * as libkeyutils does nothing else.
 */
#include "backends/secret.h"

#include <errno.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/user_object.h"
#include "util/file.h"

#define AES_BLOCK 16
#define SECRET_MAX (1024 * 1024) /* bytes; an encrypted disk's key has less than a hundred */

typedef enum SecretFormat { FORMAT_RAW, FORMAT_BASE64 } SecretFormat;

/* What all kinds have. */
typedef struct Secret {
    Object obj;
    char *keyid, *iv;
    int format;             /* SecretFormat */
    uint8_t *bytes;         /* what it is, decoded and decrypted */
    size_t len;
} Secret;

typedef struct SecretData {
    Secret secret;
    char *data, *file;
} SecretData;

typedef struct SecretKeyring {
    Secret secret;
    int32_t serial;
} SecretKeyring;

/* ---- users ------------------------------------------------------------------------------ */

void secret_free(void *data, size_t len)
{
    if (data) {
        explicit_bzero(data, len);
        g_free(data);
    }
}

static const Secret *find(Vm *vm, const char *id, GError **err)
{
    Object *obj = user_object_find(vm, id, "secret_common");

    if (!obj || !((Secret *)(void *)obj)->bytes) {
        error_set(err, "No secret with id '%s'", id);
        return NULL;
    }
    return (Secret *)(void *)obj;
}

uint8_t *secret_get(Vm *vm, const char *id, size_t *len, GError **err)
{
    const Secret *s = find(vm, id, err);

    if (!s) {
        return NULL;
    }
    uint8_t *copy = g_malloc0(s->len + 1);
    memcpy(copy, s->bytes, s->len);
    *len = s->len;
    return copy;
}

char *secret_get_text(Vm *vm, const char *id, GError **err)
{
    size_t len;
    uint8_t *bytes = secret_get(vm, id, &len, err);

    if (bytes && (memchr(bytes, 0, len) || !g_utf8_validate((char *)bytes, (gssize)len, NULL))) {
        error_set(err, "Data from secret '%s' is not valid UTF-8", id);
        secret_free(bytes, len);
        return NULL;
    }
    return (char *)bytes;
}

/* ---- decoding --------------------------------------------------------------------------------- */

/* Strict: whitespace around is all right, anything else that base64 has not is an error. */
static uint8_t *decode_base64(const uint8_t *text, size_t len, size_t *out_len, GError **err)
{
    g_autofree char *copy = g_strndup((const char *)text, len);
    gsize decoded = 0;

    g_strstrip(copy);
    size_t size = strlen(copy), digits = strspn(copy, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\n");
    if (digits + strspn(copy + digits, "=") != size || size - digits > 2) {
        explicit_bzero(copy, size);
        error_set(err, "the data is not valid base64");
        return NULL;
    }
    uint8_t *bytes = g_base64_decode(copy, &decoded);
    explicit_bzero(copy, size);
    *out_len = decoded;
    return bytes;
}

static bool check_sizes(size_t key_len, size_t iv_len, size_t len, GError **err)
{
    if (key_len != SECRET_KEY_SIZE) {
        return error_set(err, "Key should be %d bytes in length", SECRET_KEY_SIZE);
    }
    if (iv_len != SECRET_IV_SIZE) {
        return error_set(err, "IV should be %d bytes in length not %zu", SECRET_IV_SIZE, iv_len);
    }
    return (len && len % AES_BLOCK == 0) ||
           error_set(err, "the encrypted data is %zu bytes long, which is no multiple of %d", len, AES_BLOCK);
}

/* PKCS#7: the last byte says how many there are of it. */
static bool drop_padding(const uint8_t *bytes, size_t *len, GError **err)
{
    uint8_t padding = bytes[*len - 1];

    if (!padding || padding > AES_BLOCK) {
        return error_set(err, "Incorrect number of padding bytes (%u) found on decrypted data; is the key right?", padding);
    }
    *len -= padding;
    return true;
}

/* In place; *len loses the padding. */
static bool decrypt(Secret *s, uint8_t *bytes, size_t *len, GError **err)
{
    const Type *type = type_load("secret-cipher", err);
    const SecretCipherOps *ops = type ? type_ops(type) : NULL;
    g_autofree uint8_t *iv = NULL;
    size_t iv_len, key_len;

    if (!ops) {
        return false;
    }
    iv = decode_base64((const uint8_t *)s->iv, strlen(s->iv), &iv_len, err);
    if (!iv) {
        g_prefix_error(err, "iv: ");
        return false;
    }
    uint8_t *key = secret_get(s->obj.vm, s->keyid, &key_len, err);
    if (!key) {
        return false;
    }
    SecretCipher cipher = {key, iv};
    bool ok = check_sizes(key_len, iv_len, *len, err) && ops->decrypt(&cipher, bytes, *len, err) &&
              drop_padding(bytes, len, err);
    secret_free(key, key_len);
    return ok;
}

/* Takes over what a kind of secret has read: decodes and decrypts it. */
static bool take_bytes(Secret *s, uint8_t *bytes, size_t len, GError **err)
{
    if (s->format == FORMAT_BASE64) {
        size_t decoded;
        uint8_t *raw = decode_base64(bytes, len, &decoded, err);

        secret_free(bytes, len);
        bytes = raw;
        len = decoded;
    }
    if (bytes && s->keyid && !decrypt(s, bytes, &len, err)) {
        secret_free(g_steal_pointer(&bytes), len);
    }
    s->bytes = bytes;
    s->len = len;
    return bytes != NULL;
}

static bool check_key_options(const Secret *s, GError **err)
{
    if (s->keyid && !s->iv) {
        return error_set(err, "IV is required to decrypt secret");
    }
    return !s->iv || s->keyid || error_set(err, "iv= means nothing without keyid=");
}

static void secret_finalize(Object *obj)
{
    Secret *s = (Secret *)(void *)obj;

    secret_free(s->bytes, s->len);
}

static const char *const formats[] = {"raw", "base64", NULL};

static const Property common_props[] = {
    PROP_ENUM("format", Secret, format, .type = "QCryptoSecretFormat", .values = formats, .help = "how it is written"),
    PROP_OBJECT_ID("keyid", Secret, keyid, .help = "secret with the key that decrypts this one"),
    PROP_STRING("iv", Secret, iv, .type = "string", .help = "initialisation vector for that, in base64"),
    {}};

KILN_TYPE(secret_common) = {
    .name = "secret_common",
    .parent = "object",
    .size = sizeof(Secret),
    .abstract = true,
    .props = common_props,
    .finalize = secret_finalize,
};

/* ---- secret ------------------------------------------------------------------------------------- */

static bool check_options(const SecretData *d, GError **err)
{
    if (d->data && d->file) {
        return error_set(err, "'file' and 'data' are mutually exclusive");
    }
    if (!d->data && !d->file) {
        return error_set(err, "Either 'file' or 'data' must be provided");
    }
    return check_key_options(&d->secret, err);
}

static bool data_complete(Object *obj, GError **err)
{
    SecretData *d = (SecretData *)(void *)obj;
    gsize len = d->data ? strlen(d->data) : 0;
    uint8_t *bytes = d->data ? (uint8_t *)g_strdup(d->data) : NULL;

    if (!check_options(d, err) || (d->file && !file_read(d->file, SECRET_MAX, (char **)&bytes, &len, err))) {
        secret_free(bytes, len);
        return false;
    }
    return take_bytes(&d->secret, bytes, len, err);
}

static void data_finalize(Object *obj)
{
    const SecretData *d = (SecretData *)(void *)obj;

    if (d->data) {
        explicit_bzero(d->data, strlen(d->data));
    }
}

static const Property data_props[] = {
    PROP_STRING("data", SecretData, data, .type = "string", .help = "the secret itself"),
    PROP_STRING("file", SecretData, file, .type = "string", .help = "the file that holds it, at most 1 MiB"),
    {}};

KILN_TYPE(secret) = {
    .name = "secret",
    .parent = "secret_common",
    .desc = "a password or key",
    .size = sizeof(SecretData),
    .user_object = true,
    .props = data_props,
    .complete = data_complete,
    .finalize = data_finalize,
};

/* ---- secret_keyring --------------------------------------------------------------------------------- */

static long read_key(int32_t serial, void *buf, size_t room) { return syscall(SYS_keyctl, KEYCTL_READ, serial, buf, room); }

static bool keyring_complete(Object *obj, GError **err)
{
    SecretKeyring *k = (SecretKeyring *)(void *)obj;

    if (!check_key_options(&k->secret, err)) {
        return false;
    }
    uint8_t *bytes = g_malloc0(SECRET_MAX + 1);
    long len = read_key(k->serial, bytes, SECRET_MAX);
    if (len < 0 || len > SECRET_MAX) { /* a key that is longer than there is room for tells its length */
        secret_free(bytes, SECRET_MAX);
        return len < 0 ? error_set_errno(err, errno, "Unable to read serial key %08x", (unsigned)k->serial)
                       : error_set(err, "key %08x has %ld bytes, more than %d", (unsigned)k->serial, len, SECRET_MAX);
    }
    uint8_t *copy = g_memdup2(bytes, (gsize)len + 1);
    secret_free(bytes, SECRET_MAX);
    return take_bytes(&k->secret, copy, (size_t)len, err);
}

static const Property keyring_props[] = {
    PROP_I32("serial", SecretKeyring, serial, .type = "int32_t", .required = true, .min = INT32_MIN, .max = INT32_MAX,
             .help = "the key's serial number"),
    {}};

KILN_TYPE(secret_keyring) = {
    .name = "secret_keyring",
    .parent = "secret_common",
    .desc = "a password or key that the kernel keeps",
    .size = sizeof(SecretKeyring),
    .user_object = true,
    .props = keyring_props,
    .complete = keyring_complete,
};
