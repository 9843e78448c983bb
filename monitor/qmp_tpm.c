/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trusted platform modules: there are none. Managers ask whether there are. */
#include "monitor/qmp.h"
#include "qapi/qapi-commands.h"

bool qmp_query_tpm(QmpCall *call, GError **err)
{
    call->result = g_ptr_array_new();
    return true;
}

bool qmp_query_tpm_models(QmpCall *call, GError **err)
{
    call->result = g_array_new(false, false, sizeof(TpmModel));
    return true;
}

bool qmp_query_tpm_types(QmpCall *call, GError **err)
{
    call->result = g_array_new(false, false, sizeof(TpmType));
    return true;
}
