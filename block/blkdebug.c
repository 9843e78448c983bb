/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * blkdebug: a filter that makes requests fail on purpose, as QEMU's does.
 *
 * Format drivers announce what they are about to do (block_debug_event: "l2_update"). A rule belongs
 * to an event, and to a state of the node (0: any; it begins with 1). When its event comes, a
 * set-state rule changes the state; an inject-error rule becomes active, together with the others of
 * the same event, and replaces those that were active before. While it is active, the requests that
 * it matches (type, sector) fail; with once=on it is gone after the first. The event "none" comes
 * when the node is opened.
 *
 * Rules come from options (inject-error.0.event=...) or from a config file with [inject-error] and
 * [set-state] sections. The limits that it pretends to have are in blkdebug_limits.c. Not done: the
 * event pwritev_done never comes.
 *
 * block_debug_break parks the next request after an event until block_debug_resume, for tests.
 */
#include <errno.h>

#include "block/blkdebug.h"
#include "qapi/qapi-block.h"
#include "util/file.h"

#define CONFIG_MAX MIB

typedef struct DebugRule {
    char *event;
    int state;     /* 0: any */
    bool is_error; /* else set-state */
    bool active;
    int new_state;
    int error;              /* errno value */
    unsigned ops;           /* bits of BlockOp that fail */
    int64_t sector;         /* that has to be touched; -1: any */
    bool once, immediately; /* immediately: nothing else runs before it fails */
} DebugRule;

typedef struct DebugBreak {
    char *event, *tag;
    bool hit; /* the next request stops here */
    BlockIo *parked;
} DebugBreak;

typedef struct DebugState {
    BlockNode *image;
    GPtrArray *rules, *breaks;
    int state;
    unsigned failed; /* requests */
    uint32_t take_perms, unshare_perms; /* BLOCK_PERM_* that are used and not shared besides what parents need */
    DebugLimits limits;
} DebugState;

static const struct {
    const char *name;
    unsigned ops;
} io_types[] = {
    {"read", 1 << BLOCK_READ},         {"write", 1 << BLOCK_WRITE},
    {"write-zeroes", 1 << BLOCK_ZERO}, {"discard", 1 << BLOCK_DISCARD},
    {"flush", 1 << BLOCK_FLUSH},       {"block-status", 1 << BLOCK_STATUS},
};

static void rule_free(gpointer data)
{
    DebugRule *rule = data;

    g_free(rule->event);
    g_free(rule);
}

/* ---- rules from options --------------------------------------------------------------------- */

static bool take_signed(BlockOpts *opts, const char *key, int64_t *value, GError **err)
{
    g_autofree char *text = block_opts_take(opts, key);

    return !text || g_ascii_string_to_signed(text, 10, -1, INT64_MAX, value, NULL) ||
           error_set(err, "Parameter '%s' expects a number, not '%s'", key, text);
}

static bool take_io_type(BlockOpts *opts, DebugRule *rule, GError **err)
{
    g_autofree char *name = block_opts_take(opts, "iotype");

    rule->ops = ~(1u << BLOCK_STATUS);
    for (unsigned i = 0; name && i < G_N_ELEMENTS(io_types); i++) {
        if (!strcmp(io_types[i].name, name)) {
            rule->ops = io_types[i].ops;
            return true;
        }
    }
    return !name || error_set(err, "Parameter 'iotype' does not accept value '%s'", name);
}

static bool rule_parse(DebugRule *rule, BlockOpts *opts, GError **err)
{
    int64_t state = 0, new_state = 0, error = EIO;

    rule->sector = -1;
    rule->event = block_opts_take(opts, "event");
    if (!rule->event) {
        return error_set(err, "Missing event name for rule");
    }
    if (qapi_enum_value(&qapi_type_BlkdebugEvent, rule->event) < 0) {
        return error_set(err, "Invalid event name \"%s\"", rule->event);
    }
    if (!take_signed(opts, "state", &state, err)) {
        return false;
    }
    rule->state = (int)state;
    if (!rule->is_error) {
        if (!take_signed(opts, "new_state", &new_state, err)) {
            return false;
        }
        rule->new_state = (int)new_state;
        return true;
    }
    if (!take_signed(opts, "errno", &error, err) ||
        !take_signed(opts, "sector", &rule->sector, err) || !take_io_type(opts, rule, err) ||
        !block_opts_take_bool(opts, "once", &rule->once, err) ||
        !block_opts_take_bool(opts, "immediately", &rule->immediately, err)) {
        return false;
    }
    rule->error = (int)error;
    return (error > 0 && error < 4096) ||
           error_set(err, "Parameter 'errno' expects an error number of the host");
}

static bool add_rule(DebugState *d, BlockOpts *opts, bool is_error, GError **err)
{
    DebugRule *rule = g_new0(DebugRule, 1);
    const char *left;

    rule->is_error = is_error;
    g_ptr_array_add(d->rules, rule);
    if (!rule_parse(rule, opts, err)) {
        return false;
    }
    left = block_opts_left(opts);
    return !left || error_set(err, "Invalid parameter '%s'", left);
}

static bool take_rules(DebugState *d, BlockOpts *opts, const char *kind, GError **err)
{
    for (unsigned i = 0;; i++) {
        g_autofree char *prefix = g_strdup_printf("%s.%u", kind, i);
        BlockOpts *sub;
        bool ok;

        if (!block_opts_has_prefix(opts, prefix)) {
            return true;
        }
        sub = block_opts_take_prefix(opts, prefix);
        ok = add_rule(d, sub, !strcmp(kind, "inject-error"), err);
        block_opts_free(sub);
        if (!ok) {
            return false;
        }
    }
}

/* ---- rules from a file ---------------------------------------------------------------------- */

static bool end_section(DebugState *d, char **section, BlockOpts *opts, const char *path,
                        GError **err)
{
    bool ok = true;

    if (*section) {
        bool is_error = !strcmp(*section, "inject-error");

        ok = is_error || !strcmp(*section, "set-state")
                 ? add_rule(d, opts, is_error, err)
                 : error_set(err, "there is no section [%s] (inject-error, set-state)", *section);
        if (!ok) {
            g_prefix_error(err, "blkdebug config '%s': ", path);
        }
        g_clear_pointer(section, g_free);
    }
    return ok;
}

static bool config_line(BlockOpts *opts, const char *section, char *line, GError **err)
{
    char *eq = strchr(line, '='), *value;
    size_t len;

    if (!eq || !section) {
        return error_set(err, "'%s' is no key = \"value\" in a section", line);
    }
    *eq = 0;
    value = g_strstrip(eq + 1);
    len = strlen(value);
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value[len - 1] = 0;
        value++;
    }
    block_opts_set(opts, g_strstrip(line), value);
    return true;
}

static bool read_config(DebugState *d, const char *path, GError **err)
{
    g_autofree char *text = NULL, *section = NULL;
    g_auto(GStrv) lines = NULL;
    BlockOpts *opts = block_opts_new();
    bool ok = true;

    if (!file_read(path, CONFIG_MAX, &text, NULL, err)) {
        g_prefix_error(err, "Could not read blkdebug config file: ");
        block_opts_free(opts);
        return false;
    }
    lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; ok && lines[i]; i++) {
        char *line = g_strstrip(lines[i]);

        if (*line == '[') {
            ok = end_section(d, &section, opts, path, err);
            section = g_strndup(line + 1, strcspn(line + 1, "]"));
        } else if (*line && *line != '#') {
            ok = config_line(opts, section, line, err);
        }
    }
    ok = ok && end_section(d, &section, opts, path, err);
    block_opts_free(opts);
    return ok;
}

/* ---- events --------------------------------------------------------------------------------- */

static void inject_rules(DebugState *d, const char *event)
{
    int new_state = d->state;
    bool cleared = false;

    for (unsigned i = 0; i < d->rules->len; i++) {
        DebugRule *rule = g_ptr_array_index(d->rules, i);

        if (strcmp(rule->event, event) || (rule->state && rule->state != d->state)) {
            continue;
        }
        if (!rule->is_error) {
            new_state = rule->new_state;
            continue;
        }
        for (unsigned j = 0; !cleared && j < d->rules->len; j++) {
            ((DebugRule *)g_ptr_array_index(d->rules, j))->active = false;
        }
        cleared = true;
        rule->active = true;
    }
    d->state = new_state;
}

void blkdebug_event(BlockNode *node, const char *event)
{
    DebugState *d = node->state;

    inject_rules(d, event);
    for (unsigned i = 0; i < d->breaks->len; i++) {
        DebugBreak *b = g_ptr_array_index(d->breaks, i);

        b->hit |= !b->parked && !strcmp(b->event, event);
    }
}

void block_debug_event(BlockNode *node, const char *event)
{
    if (node->drv == &block_driver_blkdebug) {
        blkdebug_event(node, event);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static DebugRule *find_rule(const DebugState *d, const BlockIo *io)
{
    for (unsigned i = 0; i < d->rules->len; i++) {
        DebugRule *rule = g_ptr_array_index(d->rules, i);
        uint64_t at = (uint64_t)rule->sector * BLOCK_SECTOR;

        if (rule->active && (rule->ops & (1u << io->op)) &&
            (rule->sector < 0 || (io->op != BLOCK_FLUSH && io->offset < at + BLOCK_SECTOR &&
                                  at < io->offset + io->len))) {
            return rule;
        }
    }
    return NULL;
}

static bool park(DebugState *d, BlockIo *io)
{
    for (unsigned i = 0; i < d->breaks->len; i++) {
        DebugBreak *b = g_ptr_array_index(d->breaks, i);

        if (b->hit && !b->parked) {
            b->hit = false;
            b->parked = io;
            return true;
        }
    }
    return false;
}

static void go_on(BlockNode *node, BlockIo *io)
{
    DebugState *d = node->state;
    DebugRule *rule = find_rule(d, io);
    int error;

    if (!rule) {
        block_node_submit(d->image, io);
        return;
    }
    error = rule->error;
    d->failed++;
    if (rule->once) {
        g_ptr_array_remove(d->rules, rule);
    }
    block_io_finish_later(node, io, -error);
}

void blkdebug_part(BlockNode *node, BlockIo *io)
{
    if (io->op == BLOCK_WRITE || io->op == BLOCK_ZERO) {
        blkdebug_event(node, io->op == BLOCK_ZERO ? "pwritev_zero" : "pwritev");
    }
    if (!park(node->state, io)) {
        go_on(node, io);
    }
}

static void blkdebug_submit(BlockNode *node, BlockIo *io)
{
    if (!debug_limits_submit(node, &((DebugState *)node->state)->limits, io)) {
        blkdebug_part(node, io);
    }
}

unsigned block_debug_failed(const BlockNode *node)
{
    return ((const DebugState *)node->state)->failed;
}

/* ---- break points --------------------------------------------------------------------------- */

bool block_debug_break(BlockNode *node, const char *event, const char *tag)
{
    DebugState *d = node->state;
    DebugBreak *b;

    if (node->drv != &block_driver_blkdebug || qapi_enum_value(&qapi_type_BlkdebugEvent, event) < 0) {
        return false;
    }
    b = g_new0(DebugBreak, 1);
    b->event = g_strdup(event);
    b->tag = g_strdup(tag);
    g_ptr_array_add(d->breaks, b);
    return true;
}

static void break_free(gpointer data)
{
    DebugBreak *b = data;

    g_free(b->event);
    g_free(b->tag);
    g_free(b);
}

static DebugBreak *find_break(const BlockNode *node, const char *tag)
{
    const DebugState *d = node->state;

    for (unsigned i = 0; node->drv == &block_driver_blkdebug && i < d->breaks->len; i++) {
        DebugBreak *b = g_ptr_array_index(d->breaks, i);

        if (!strcmp(b->tag, tag)) {
            return b;
        }
    }
    return NULL;
}

bool block_debug_is_suspended(const BlockNode *node, const char *tag)
{
    const DebugBreak *b = find_break(node, tag);

    return b && b->parked;
}

bool block_debug_resume(BlockNode *node, const char *tag)
{
    DebugBreak *b = find_break(node, tag);
    BlockIo *io;

    if (!b) {
        return false;
    }
    io = b->parked;
    g_ptr_array_remove(((DebugState *)node->state)->breaks, b);
    if (io) {
        go_on(node, io);
    }
    return true;
}

/* Nothing stays parked in a drained section: whoever drains could wait for ever. */
static void blkdebug_drain_begin(BlockNode *node)
{
    DebugState *d = node->state;

    while (d->breaks->len) {
        DebugBreak *b = g_ptr_array_index(d->breaks, 0);

        block_debug_resume(node, b->tag);
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static void blkdebug_close(BlockNode *node)
{
    DebugState *d = node->state;

    g_ptr_array_free(d->rules, TRUE);
    g_ptr_array_free(d->breaks, TRUE);
}

/* A list of names: key.0, key.1, ... */
static bool take_perms(BlockOpts *opts, const char *key, uint32_t *perms, GError **err)
{
    static const char *const names[] = {"consistent-read", "write", "write-unchanged", "resize", NULL};

    for (unsigned i = 0;; i++) {
        g_autofree char *one = g_strdup_printf("%s.%u", key, i);
        int perm = -1;

        if (!block_opts_peek(opts, one)) {
            return true;
        }
        if (!block_opts_take_enum(opts, one, names, &perm, err)) {
            return false;
        }
        *perms |= 1u << perm;
    }
}

static void blkdebug_child_perm(BlockNode *node, const BlockChild *child, uint32_t used, uint32_t shared,
                                uint32_t *child_used, uint32_t *child_shared)
{
    const DebugState *d = node->state;

    block_child_default_perm(node, child, used, shared, child_used, child_shared);
    *child_used |= d->take_perms;
    *child_shared &= ~d->unshare_perms;
}

static bool blkdebug_open(BlockNode *node, BlockOpts *opts, GError **err)
{
    DebugState *d = node->state;
    g_autofree char *config = block_opts_take(opts, "config");
    BlockChild *child;

    d->rules = g_ptr_array_new_with_free_func(rule_free);
    d->breaks = g_ptr_array_new_with_free_func(break_free);
    d->state = 1;
    child = take_perms(opts, "take-child-perms", &d->take_perms, err) &&
                    take_perms(opts, "unshare-child-perms", &d->unshare_perms, err)
                ? block_open_child(node, opts, "image", BLOCK_ROLE_FILTERED | BLOCK_ROLE_PRIMARY, false, err)
                : NULL;
    if (!child || !debug_limits_take(&d->limits, opts, child->node->limits.request_align, err) || (config && *config && !read_config(d, config, err)) ||
        !take_rules(d, opts, "inject-error", err) || !take_rules(d, opts, "set-state", err)) {
        blkdebug_close(node);
        return false;
    }
    d->image = child->node;
    node->size = d->image->size;
    node->filename = g_strdup(d->image->filename);
    inject_rules(d, "none");
    return true;
}

static void blkdebug_child_resized(BlockNode *node, BlockChild *child)
{
    block_node_set_size(node, child->node->size);
}

static bool blkdebug_truncate(BlockNode *node, uint64_t size, bool exact, BlockPrealloc prealloc,
                              GError **err)
{
    return block_ptruncate(((DebugState *)node->state)->image, size, exact, prealloc, err);
}

static void blkdebug_refresh_limits(BlockNode *node)
{
    const DebugState *d = node->state;

    node->limits = d->image->limits;
    node->limits.request_align = MAX(node->limits.request_align, d->limits.align);
    node->limits.zero_align = MAX(node->limits.zero_align, d->limits.opt_zero);
}

const BlockDriver block_driver_blkdebug = {
    .name = "blkdebug",
    .is_filter = true,
    .state_size = sizeof(DebugState),
    .open = blkdebug_open,
    .close = blkdebug_close,
    .child_perm = blkdebug_child_perm,
    .submit = blkdebug_submit,
    .child_resized = blkdebug_child_resized,
    .refresh_limits = blkdebug_refresh_limits,
    .drain_begin = blkdebug_drain_begin,
    .truncate = blkdebug_truncate,
};
