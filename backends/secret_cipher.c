/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AES-256-CBC for secrets, by GnuTLS: in a module, because hardly a VM needs it. */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "backends/secret.h"

static bool decrypt(const SecretCipher *c, uint8_t *data, size_t len, GError **err)
{
    gnutls_datum_t key = {(uint8_t *)(uintptr_t)c->key, SECRET_KEY_SIZE};
    gnutls_datum_t iv = {(uint8_t *)(uintptr_t)c->iv, SECRET_IV_SIZE};
    gnutls_cipher_hd_t cipher;
    int r = gnutls_cipher_init(&cipher, GNUTLS_CIPHER_AES_256_CBC, &key, &iv);

    if (r >= 0) {
        r = gnutls_cipher_decrypt2(cipher, data, len, data, len);
        gnutls_cipher_deinit(cipher);
    }
    return r >= 0 || error_set(err, "cannot decrypt: %s", gnutls_strerror(r));
}

static const SecretCipherOps cipher_ops = {.decrypt = decrypt};

KILN_TYPE(secret_cipher) = {
    .name = "secret-cipher",
    .parent = "object",
    .abstract = true,
    .ops = &cipher_ops,
};
