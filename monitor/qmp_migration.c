/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is of migration: managers read its state and switch its events on before they do anything else. */
#include "monitor/internal.h"
#include "qapi/qapi-commands.h"

bool qmp_query_migrate_capabilities(QmpCall *call, GError **err)
{
    MigrationCapabilityStatus *status = g_new0(MigrationCapabilityStatus, 1);

    status->capability = MIGRATION_CAPABILITY_EVENTS;
    status->state = monitor_state(call->vm)->migration_events;
    g_ptr_array_add(call->result = g_ptr_array_new(), status);
    return true;
}

bool qmp_migrate_set_capabilities(QmpCall *call, GError **err)
{
    const MigrateSetCapabilitiesArgs *args = call->args;

    for (unsigned i = 0; i < args->capabilities->len; i++) {
        const MigrationCapabilityStatus *status = args->capabilities->pdata[i];

        monitor_state(call->vm)->migration_events = status->state; /* the only capability */
    }
    return true;
}

/* Nothing can leave this machine; managers ask before they try. */
bool qmp_query_migrate(QmpCall *call, GError **err)
{
    MigrationInfo *info = call->result = g_new0(MigrationInfo, 1);

    info->blocked_reasons = g_ptr_array_new();
    g_ptr_array_add(info->blocked_reasons, g_strdup("migration is not supported yet"));
    return true;
}

bool qmp_query_migrate_parameters(QmpCall *call, GError **err)
{
    call->result = g_new0(MigrationParameters, 1);
    return true;
}
