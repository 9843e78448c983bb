/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * authz-pam: the account rules of a PAM service (/etc/pam.d/SERVICE) say who may. In a module, because of the library.
 *
 * Nobody is asked for a password: that somebody is who he says was proved before (TLS). What the service's modules do takes its
 * time, in the thread that asks: rules that go through a network belong elsewhere.
 */
#include <security/pam_appl.h>

#include "backends/authz.h"
#include "util/trace.h"

typedef struct AuthzPam {
    Object obj;
    char *service;
} AuthzPam;

/* A module that wants to ask or tell gets no answer. */
static int converse(int count, const struct pam_message **messages, struct pam_response **responses, void *opaque)
{
    return PAM_CONV_ERR;
}

static bool pam_is_allowed(Object *obj, const char *identity, GError **err)
{
    const struct pam_conv conversation = {.conv = converse};
    const AuthzPam *p = (AuthzPam *)(void *)obj;
    pam_handle_t *pam = NULL;
    int ret = pam_start(p->service, identity, &conversation, &pam);

    if (ret != PAM_SUCCESS) {
        return error_set(err, "Unable to start PAM service '%s': %s", p->service, pam_strerror(pam, ret));
    }
    ret = pam_acct_mgmt(pam, PAM_SILENT);
    if (ret != PAM_SUCCESS) {
        trace(authz_pam_denied, "service %s, %s: %s", p->service, identity, pam_strerror(pam, ret));
    }
    pam_end(pam, ret);
    return ret == PAM_SUCCESS;
}

static const Property pam_props[] = {
    PROP_STRING("service", AuthzPam, service, .type = "string", .required = true, .help = "the name in /etc/pam.d"),
    {}};
static const AuthzOps pam_ops = {.is_allowed = pam_is_allowed};

KILN_TYPE(authz_pam) = {
    .name = "authz-pam",
    .parent = "authz",
    .desc = "allows whom a PAM service's account rules allow",
    .size = sizeof(AuthzPam),
    .props = pam_props,
    .ops = &pam_ops,
};
