/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The schema's reader on any bytes: JSON or key=value, read as some type, written, copied and freed. The first byte
 * chooses the type and the second the form, so that a corpus reaches all of them.
 *
 * Built with clang's libFuzzer (meson -Dfuzzing=true) it looks for new input; built without, main() replays the files
 * that it is given, as a test.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/qapi-sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const QapiType *const types[] = {
    &qapi_type_Scalars, &qapi_type_Optional, &qapi_type_Lists, &qapi_type_Shape,
    &qapi_type_Values, &qapi_type_Empty, &qapi_list_Shape, &qapi_list_int,
};

static void use(const QapiType *type, json_object *json, unsigned flags)
{
    GError *err = NULL;
    void *value;

    if (!qapi_read(type, json, flags, &value, &err)) {
        g_assert_true(err && err->message[0] && !value);
        g_error_free(err);
        return;
    }
    void *copy = qapi_clone(type, value);
    json_object *one = qapi_write(type, value), *two = qapi_write(type, copy);
    g_assert_true(json_object_equal(one, two));
    qapi_free(type, value);
    qapi_free(type, copy);
    /* What was written can be read again. */
    g_assert_true(qapi_read(type, one, 0, &value, NULL));
    qapi_free(type, value);
    json_object_put(one);
    json_object_put(two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const QapiType *type = types[data[0] % G_N_ELEMENTS(types)];
    char *text = g_strndup((const char *)data + 2, size - 2);
    GError *err = NULL;
    json_object *json;

    if (data[1] & 1) {
        json = qapi_parse_keyval(text, data[1] & 2 ? "kind" : NULL, &err);
        if (json) {
            use(type, json, QAPI_KEYVAL);
            json_object_put(json);
        }
        g_assert_true(!json == (err != NULL));
    } else if (qapi_parse_json((const char *)data + 2, size - 2, &json, &err)) {
        g_assert_no_error(err);
        use(type, json, data[1] & 2 ? QAPI_KEYVAL : 0);
        json_object_put(json);
    } else {
        g_assert_true(err && err->message[0] && !json);
    }
    g_clear_error(&err);
    g_free(text);
    return 0;
}

#ifndef FUZZING
/* TAP: one line for each file. */
int main(int argc, char **argv)
{
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        g_autofree char *content = NULL;
        gsize length;

        if (!g_file_get_contents(argv[i], &content, &length, NULL)) {
            printf("not ok %d cannot read %s\n", i, argv[i]);
            return 1;
        }
        /* Each part of a good input, too. */
        for (gsize len = 0; len <= length; len++) {
            g_autofree uint8_t *part = g_memdup2(content, len);

            LLVMFuzzerTestOneInput(part, len);
        }
        printf("ok %d %s\n", i, argv[i]);
    }
    return 0;
}
#endif
