/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The names by which users call NBD exports, taken apart into the options of the nbd driver:
 *
 *   nbd://HOST[:PORT][/EXPORT]   nbd+tcp://...   nbd+unix:///[EXPORT]?socket=PATH
 *   nbd:HOST:PORT[:exportname=EXPORT]            nbd:unix:PATH[:exportname=EXPORT]
 *
 * URIs: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md, without TLS (nbds): that takes
 * credentials, which are options.
 */
#include "block/block_int.h"

#define DEFAULT_PORT "10809"

static void set(BlockOpts *opts, const char *prefix, const char *key, const char *value)
{
    g_autofree char *full = g_strconcat(prefix, key, NULL);

    block_opts_set(opts, full, value);
}

static bool set_inet(BlockOpts *opts, const char *prefix, const char *host, const char *port)
{
    set(opts, prefix, "server.type", "inet");
    set(opts, prefix, "server.host", host);
    set(opts, prefix, "server.port", port);
    return true;
}

static bool set_unix(BlockOpts *opts, const char *prefix, const char *path)
{
    set(opts, prefix, "server.type", "unix");
    set(opts, prefix, "server.path", path);
    return true;
}

/* "unix:PATH", "HOST:PORT", "[ADDRESS]:PORT", each with ":exportname=..." behind. */
static bool parse_old(BlockOpts *opts, const char *prefix, const char *text, GError **err)
{
    const char *mark = strstr(text, ":exportname=");
    g_autofree char *address = mark ? g_strndup(text, (gsize)(mark - text)) : g_strdup(text);
    char *host = address, *port;

    if (mark) {
        set(opts, prefix, "export", mark + strlen(":exportname="));
    }
    if (g_str_has_prefix(address, "unix:")) {
        return set_unix(opts, prefix, address + strlen("unix:"));
    }
    port = strrchr(address, ':');
    if (!port || !port[1] || (*host == '[' && port[-1] != ']')) {
        return error_set(err, "File name string for new protocols must start with 'nbd:HOST:PORT' or "
                              "'nbd:unix:PATH': 'nbd:%s' does not",
                         text);
    }
    *port++ = 0;
    if (*host == '[') {
        host++;
        host[strlen(host) - 1] = 0;
    }
    return set_inet(opts, prefix, host, port);
}

/* The only query parameter there is: socket. */
static char *take_socket(const char *query, GError **err)
{
    GHashTable *params =
        query ? g_uri_parse_params(query, -1, "&", G_URI_PARAMS_NONE, NULL) : NULL;
    char *path = NULL;

    if (params && g_hash_table_size(params) == 1) {
        path = g_strdup(g_hash_table_lookup(params, "socket"));
    }
    if (params) {
        g_hash_table_unref(params);
    }
    if (!path || !*path) {
        g_free(path);
        error_set(err, "nbd+unix:// needs ?socket=PATH and nothing else behind it");
        return NULL;
    }
    return path;
}

static bool parse_uri(BlockOpts *opts, const char *prefix, const char *text, GError **err)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GUri) uri = g_uri_parse(text, G_URI_FLAGS_ENCODED_QUERY, &why);
    g_autofree char *port = NULL, *path = NULL;
    const char *scheme = uri ? g_uri_get_scheme(uri) : "", *name;

    if (!uri) {
        return error_set(err, "'%s' is no valid URI: %s", text, why->message);
    }
    name = g_uri_get_path(uri);
    name += *name == '/';
    if (*name) {
        set(opts, prefix, "export", name);
    }
    if (!strcmp(scheme, "nbd+unix")) {
        path = take_socket(g_uri_get_query(uri), err);
        if (path && ((g_uri_get_host(uri) && *g_uri_get_host(uri)) || g_uri_get_port(uri) > 0)) {
            return error_set(err, "'%s': nbd+unix:// has no host and no port; write nbd+unix:///NAME?socket=...",
                             text);
        }
        return path && set_unix(opts, prefix, path);
    }
    if (strcmp(scheme, "nbd") && strcmp(scheme, "nbd+tcp")) {
        return error_set(err, "'%s': %s", text,
                         g_str_has_prefix(scheme, "nbds")
                             ? "TLS needs the options of a node: driver=nbd,tls-creds=..."
                             : "the protocol is nbd, nbd+tcp or nbd+unix");
    }
    if (g_uri_get_query(uri)) {
        return error_set(err, "'%s': nothing may follow a '?' here", text);
    }
    if (!g_uri_get_host(uri) || !*g_uri_get_host(uri)) {
        return error_set(err, "'%s' names no host", text);
    }
    port = g_uri_get_port(uri) > 0 ? g_strdup_printf("%d", g_uri_get_port(uri)) : g_strdup(DEFAULT_PORT);
    return set_inet(opts, prefix, g_uri_get_host(uri), port);
}

bool block_nbd_is_name(const char *text)
{
    return g_str_has_prefix(text, "nbd:") || g_str_has_prefix(text, "nbd+") ||
           g_str_has_prefix(text, "nbds:") || g_str_has_prefix(text, "nbds+");
}

bool block_nbd_parse_name(BlockOpts *opts, const char *prefix, const char *text, GError **err)
{
    return strstr(text, "://") ? parse_uri(opts, prefix, text, err)
           : g_str_has_prefix(text, "nbd:")
               ? parse_old(opts, prefix, text + strlen("nbd:"), err)
               : error_set(err, "'%s' is no name of an NBD export (nbd://HOST:PORT/NAME, "
                                "nbd+unix:///NAME?socket=PATH, nbd:unix:PATH:exportname=NAME)", text);
}
