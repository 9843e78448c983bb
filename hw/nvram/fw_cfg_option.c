/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -fw_cfg: files that the user adds to the firmware configuration device. */
#include "hw/nvram/fw_cfg.h"
#include "hw/nvram/option_file.h"
#include "util/keyval.h"
#include "util/log.h"

static bool option_apply(FwCfg *fw, const char *text, KeyVals *kv, GError **err)
{
    const char *name = keyvals_get(kv, "name"), *file = keyvals_get(kv, "file");
    const char *string = keyvals_get(kv, "string"), *gen_id = keyvals_get(kv, "gen_id");
    char *data = NULL;
    gsize len = 0;
    bool ok;

    if (!keyvals_finish(kv, err)) {
        return false;
    }
    if (!name || !*name) {
        return error_set(err, "-fw_cfg %s: name= is missing; give name=opt/... with file=PATH or string=TEXT", text);
    }
    if (gen_id) {
        return error_set(err, "-fw_cfg %s: gen_id= needs an object that generates data, and no such type is built in",
                         text);
    }
    if (!file == !string) {
        return error_set(err, "-fw_cfg %s: give exactly one of file=PATH and string=TEXT", text);
    }
    if (string) {
        ok = fw_cfg_add_file(fw, name, string, strlen(string), err);
    } else {
        ok = option_read_file("-fw_cfg", file, INT32_MAX, &data, &len, err) &&
             fw_cfg_add_file(fw, name, data, len, err);
        g_free(data);
    }
    if (ok && !g_str_has_prefix(name, "opt/")) {
        report_warning("-fw_cfg: item names that users give should begin with 'opt/', '%s' does not", name);
    }
    return ok;
}

bool fw_cfg_add_option(FwCfg *fw, const char *text, GError **err)
{
    KeyVals *kv = keyvals_parse("-fw_cfg", text, "name", err);
    bool ok = kv && option_apply(fw, text, kv, err);

    if (kv) {
        keyvals_free(kv);
    }
    return ok;
}
