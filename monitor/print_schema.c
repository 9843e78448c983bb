/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * print-schema: what query-qmp-schema answers, as a line of JSON, or with -c as the C source of
 * `const char qmp_schema_text[]`. It runs when Kiln is built; no VM is made.
 */
#include <stdio.h>
#include <string.h>

#include "monitor/monitor.h"
#include "qapi/qapi-introspect.h"
#include "qapi/qapi.h"
#include "util/json_text.h"

#define LITERAL_SIZE 4000 /* what every compiler takes as one string */

static void print_c(const char *text)
{
    printf("extern const char qmp_schema_text[];\nconst char qmp_schema_text[] = \"");
    for (unsigned i = 0; text[i]; i++) {
        if (i % LITERAL_SIZE == LITERAL_SIZE - 1) {
            printf("\"\n\"");
        }
        if (strchr("\\\"", text[i])) {
            putchar('\\');
        }
        putchar(text[i]);
    }
    puts("\";");
}

int main(int argc, char **argv)
{
    GPtrArray *infos = monitor_make_schema();
    json_object *json = qapi_write(&qapi_list_SchemaInfo, infos);
    GString *text = g_string_new(NULL);

    json_text_append(text, json, false);
    if (argc == 2 && !strcmp(argv[1], "-c")) {
        print_c(text->str);
    } else {
        puts(text->str);
    }
    g_string_free(text, true);
    json_object_put(json);
    qapi_free(&qapi_list_SchemaInfo, infos);
    return fflush(stdout) ? 1 : 0;
}
