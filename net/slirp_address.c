/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The addresses of a user network. */
#include <stdlib.h>

#include "net/slirp_int.h"

static struct in_addr host_order(uint32_t addr) { return (struct in_addr){htonl(addr)}; }
static bool is_inside(struct in_addr addr, const SlirpConfig *c)
{
    return (addr.s_addr & c->vnetmask.s_addr) == c->vnetwork.s_addr;
}

/* Without a mask: that of the address's class. */
static uint32_t class_mask(uint32_t addr)
{
    if (!(addr & 0x80000000)) {
        return 0xff000000;
    }
    if ((addr & 0xfff00000) == 0xac100000) {
        return 0xfff00000;
    }
    if ((addr & 0xc0000000) == 0x80000000 || (addr & 0xffff0000) == 0xc0a80000) {
        return 0xffff0000;
    }
    return (addr & 0xe0000000) == 0xc0000000 ? 0xffffff00 : 0xfffffff0;
}

static bool parse_mask(const char *text, struct in_addr *mask, GError **err)
{
    char *end;
    long bits = strtol(text, &end, 10);

    if (*end) {
        return inet_aton(text, mask) || error_set(err, "Failed to parse netmask (trailing chars)");
    }
    if (end == text || bits < 4 || bits > 32) {
        return error_set(err, "Invalid netmask provided (must be in range 4-32)");
    }
    *mask = host_order((uint32_t)(UINT64_C(0xffffffff) << (32 - bits)));
    return true;
}

static bool parse_network(const char *text, SlirpConfig *c, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);

    if (!inet_aton(parts[0], &c->vnetwork)) {
        return error_set(err, "Failed to parse net '%s'; write address/bits", text);
    }
    c->vnetmask = host_order(class_mask(ntohl(c->vnetwork.s_addr)));
    if (parts[1] && !parse_mask(parts[1], &c->vnetmask, err)) {
        return false;
    }
    c->vnetwork.s_addr &= c->vnetmask.s_addr;
    return true;
}

static bool parse_inside(const char *text, const char *what, const SlirpConfig *c,
                         struct in_addr *out, GError **err)
{
    if (text && !inet_aton(text, out)) {
        return error_set(err, "Failed to parse %s '%s'", what, text);
    }
    return is_inside(*out, c) || error_set(err, "%s doesn't belong to network", what);
}

static bool addresses4(const NetdevUserOptions *o, SlirpConfig *c, GError **err)
{
    if (!parse_network(o->net ? o->net : o->ip ? o->ip : "10.0.2.0/24", c, err)) {
        return false;
    }
    uint32_t net = ntohl(c->vnetwork.s_addr), rest = ~ntohl(c->vnetmask.s_addr);
    c->vhost = host_order(net | (0x202 & rest));
    c->vnameserver = host_order(net | (0x203 & rest));
    c->vdhcp_start = host_order(net | (0x20f & rest));
    if (!parse_inside(o->host, "Host", c, &c->vhost, err) ||
        !parse_inside(o->dns, "DNS", c, &c->vnameserver, err) ||
        !parse_inside(o->dhcpstart, "DHCP", c, &c->vdhcp_start, err)) {
        return false;
    }
    if (c->vnameserver.s_addr == c->vhost.s_addr) {
        return error_set(err, "DNS must be different from host");
    }
    return (c->vdhcp_start.s_addr != c->vhost.s_addr &&
            c->vdhcp_start.s_addr != c->vnameserver.s_addr) ||
           error_set(err, "DHCP must be different from host and DNS");
}

static bool parse6(const char *text, const char *what, struct in6_addr *out, GError **err)
{
    return inet_pton(AF_INET6, text, out) == 1 ||
           error_set(err, "Failed to parse %s '%s'", what, text);
}

/* The prefix with this last byte. */
static struct in6_addr in_prefix(const SlirpConfig *c, uint8_t last)
{
    struct in6_addr addr = c->vprefix_addr6;

    addr.s6_addr[15] = last;
    return addr;
}

static bool addresses6(const NetdevUserOptions *o, SlirpConfig *c, GError **err)
{
    int64_t bits = o->has_ipv6_prefixlen ? o->ipv6_prefixlen : 64;

    if (!parse6(o->ipv6_prefix ? o->ipv6_prefix : "fec0::", "IPv6 prefix", &c->vprefix_addr6,
                err)) {
        return false;
    }
    if (bits < 0 || bits > 126) {
        return error_set(
            err, "Invalid IPv6 prefix provided (IPv6 prefix length must be between 0 and 126)");
    }
    c->vprefix_len = (uint8_t)bits;
    c->vhost6 = in_prefix(c, 2);
    c->vnameserver6 = in_prefix(c, 3);
    return (!o->ipv6_host || parse6(o->ipv6_host, "IPv6 host", &c->vhost6, err)) &&
           (!o->ipv6_dns || parse6(o->ipv6_dns, "IPv6 DNS", &c->vnameserver6, err));
}

bool user_addresses(const NetdevUserOptions *o, SlirpConfig *c, GError **err)
{
    bool v4_off = o->has_ipv4 ? !o->ipv4 : o->has_ipv6 && o->ipv6;
    bool v6_off = o->has_ipv6 ? !o->ipv6 : o->has_ipv4 && o->ipv4;

    if (v4_off && v6_off) {
        return error_set(err, "IPv4 and IPv6 disabled");
    }
    c->in_enabled = !v4_off;
    c->in6_enabled = !v6_off;
    return addresses4(o, c, err) && addresses6(o, c, err);
}
