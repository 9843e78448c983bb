/* SPDX-License-Identifier: GPL-2.0-or-later */
/* secret objects: passwords and keys that other parts name by id. */
#ifndef BACKENDS_SECRET_H
#define BACKENDS_SECRET_H

#include "core/object.h"

#define SECRET_KEY_SIZE 32
#define SECRET_IV_SIZE 16

typedef struct SecretCipher {
    const uint8_t *key, *iv;
} SecretCipher;

/* Ops of the type "secret-cipher", which a module brings. */
typedef struct SecretCipherOps {
    /* AES-256-CBC in place; len is a multiple of 16. */
    bool (*decrypt)(const SecretCipher *cipher, uint8_t *data, size_t len, GError **err);
} SecretCipherOps;

/* The bytes of a secret (a copy, NUL behind them; free with secret_free). NULL with *err. */
uint8_t *secret_get(Vm *vm, const char *id, size_t *len, GError **err);
/* The same as a string: refused when it is no UTF-8 text without NUL. */
char *secret_get_text(Vm *vm, const char *id, GError **err);
/* Wipes and frees. NULL is fine. */
void secret_free(void *data, size_t len);

#endif
