/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rng-builtin takes random bytes from the kernel's generator, rng-random from a file or device. rng-egd, which asks a
 * daemon through a character device, is in chardev/.
 */
#include "backends/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/vm.h"
#include "util/log.h"

#define REQUEST_MAX (64 * KIB)

/* ---- reading ------------------------------------------------------------------------------- */

static const RngOps *ops_of(const RngBackend *b) { return type_ops(b->obj.type); }

bool rng_can_read(const RngBackend *b) { return ops_of(b)->read; }
ssize_t rng_read(RngBackend *b, void *buf, size_t size) { return ops_of(b)->read(b, buf, size); }
int rng_fd(const RngBackend *b) { return ops_of(b)->fd(b); }

/* ---- requests -------------------------------------------------------------------------- */

void rng_request(RngBackend *b, size_t size, RngFn *fn, void *opaque)
{
    RngRequest *r = g_new(RngRequest, 1);

    *r = (RngRequest){MIN(size, REQUEST_MAX), fn, opaque};
    g_queue_push_tail(&b->requests, r);
    if (b->requests.length == 1) {
        ops_of(b)->start(b);
    }
}

void rng_cancel(RngBackend *b, void *opaque)
{
    for (GList *at = b->requests.head; at; at = at->next) {
        RngRequest *r = at->data;

        if (r->opaque == opaque) {
            r->fn = NULL; /* the source may be at it: what it brings is dropped */
        }
    }
}

void rng_deliver(RngBackend *b, const uint8_t *data, size_t len)
{
    RngRequest *r = g_queue_pop_head(&b->requests);

    if (r && r->fn) {
        r->fn(r->opaque, data, MIN(len, r->size));
    }
    g_free(r);
    if (b->requests.length) {
        ops_of(b)->start(b);
    }
}

static void rng_finalize(Object *obj)
{
    RngBackend *b = (RngBackend *)(void *)obj;

    g_queue_clear_full(&b->requests, g_free);
}

static void rng_init(Object *obj) { g_queue_init(&((RngBackend *)(void *)obj)->requests); }

KILN_TYPE(rng_backend) = {
    .name = "rng-backend",
    .parent = "object",
    .size = sizeof(RngBackend),
    .abstract = true,
    .user_object = true,
    .init = rng_init,
    .finalize = rng_finalize,
};

/* ---- rng-builtin -------------------------------------------------------------------------- */

static ssize_t builtin_read(RngBackend *b, void *buf, size_t size)
{
    ssize_t n;

    do {
        n = getrandom(buf, size, 0);
    } while (n < 0 && errno == EINTR);
    return n;
}

static const RngOps builtin_ops = {.read = builtin_read};

KILN_TYPE(rng_builtin) = {
    .name = "rng-builtin",
    .parent = "rng-backend",
    .desc = "random bytes of the host's kernel",
    .ops = &builtin_ops,
};

/* ---- rng-random ----------------------------------------------------------------------------- */

typedef struct RngRandom {
    RngBackend rng;
    char *filename;
    int fd;
    bool ended;         /* atomic; there are no more, which was told */
} RngRandom;

/* A pipe that nobody has opened for writing so far is not at its end. */
static bool may_come(const RngRandom *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static ssize_t random_read(RngBackend *b, void *buf, size_t size)
{
    RngRandom *r = container_of(b, RngRandom, rng);
    const ssize_t n = read(r->fd, buf, size);
    const int error = n < 0 ? errno : 0;

    if (n > 0) {
        return n;
    }
    if (n < 0 ? error == EAGAIN || error == EINTR : may_come(r)) {
        return 0;
    }
    if (!__atomic_exchange_n(&r->ended, true, __ATOMIC_RELAXED)) {
        report_warning("rng-random '%s': %s: %s; the guest gets no more random bytes", b->obj.name, r->filename,
                       n ? strerror(error) : "the file is at its end");
    }
    return -1;
}

static int random_fd(const RngBackend *b) { return container_of(b, RngRandom, rng)->fd; }

static void random_init(Object *obj) { ((RngRandom *)(void *)obj)->fd = -1; }

static bool random_complete(Object *obj, GError **err)
{
    RngRandom *r = (RngRandom *)(void *)obj;

    r->fd = open(r->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (r->fd < 0) {
        return error_set_errno(err, errno, "cannot open filename=%s", r->filename);
    }
    return true;
}

static void random_finalize(Object *obj)
{
    RngRandom *r = (RngRandom *)(void *)obj;

    if (r->fd >= 0) {
        close(r->fd);
    }
}

static const Property random_props[] = {
    PROP_STRING("filename", RngRandom, filename, .type = "string", .def_str = "/dev/urandom",
                .help = "where the bytes come from"),
    {}};

static const RngOps random_ops = {.read = random_read, .fd = random_fd};

KILN_TYPE(rng_random) = {
    .name = "rng-random",
    .parent = "rng-backend",
    .desc = "random bytes of a device",
    .size = sizeof(RngRandom),
    .props = random_props,
    .init = random_init,
    .complete = random_complete,
    .finalize = random_finalize,
    .ops = &random_ops,
};
