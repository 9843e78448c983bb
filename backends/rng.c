/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rng-builtin takes random bytes from the kernel's generator, rng-random from a file or device. rng-egd, which asks a
 * daemon through a character device, is in chardev/.
 */
#include "backends/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/vm.h"
#include "util/log.h"

#define REQUEST_MAX (64 * KIB)

/* ---- requests -------------------------------------------------------------------------- */

void rng_request(RngBackend *b, size_t size, RngFn *fn, void *opaque)
{
    const RngOps *ops = type_ops(b->obj.type);
    RngRequest *r = g_new(RngRequest, 1);

    *r = (RngRequest){MIN(size, REQUEST_MAX), fn, opaque};
    g_queue_push_tail(&b->requests, r);
    if (b->requests.length == 1) {
        ops->start(b);
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
    const RngOps *ops = type_ops(b->obj.type);
    RngRequest *r = g_queue_pop_head(&b->requests);

    if (r && r->fn) {
        r->fn(r->opaque, data, MIN(len, r->size));
    }
    g_free(r);
    if (b->requests.length) {
        ops->start(b);
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

static void builtin_answer(void *opaque)
{
    RngBackend *b = opaque;
    const RngRequest *r = g_queue_peek_head(&b->requests);
    size_t size = r ? r->size : 0, done = 0;
    g_autofree uint8_t *data = g_malloc(size + 1);

    while (done < size) {
        ssize_t n = getrandom(data + done, size - done, 0);

        if (n < 0 && errno != EINTR) {
            break;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    if (done) {
        rng_deliver(b, data, done);
    }
    object_unref(b);
}

static void builtin_start(RngBackend *b)
{
    object_ref(&b->obj);
    loop_post(b->obj.vm->loop, builtin_answer, b);
}

static const RngOps builtin_ops = {.start = builtin_start};

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
    LoopFd *source;     /* NULL: a file that epoll does not take */
} RngRandom;

static void random_read(RngRandom *r)
{
    const RngRequest *request = g_queue_peek_head(&r->rng.requests);
    uint8_t data[1024];

    if (!request) {
        return;
    }
    ssize_t n = read(r->fd, data, MIN(request->size, sizeof data));
    if (n > 0) {
        rng_deliver(&r->rng, data, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        report_warning("rng-random '%s': %s: %s; the guest gets no more random bytes", r->rng.obj.name, r->filename,
                       n ? strerror(errno) : "the file is at its end");
        if (r->source) {
            loop_fd_set_events(r->source, 0);
        }
    }
}

static void random_ready(void *opaque, uint32_t events)
{
    RngRandom *r = opaque;

    random_read(r);
    if (!r->rng.requests.length) {
        loop_fd_set_events(r->source, 0);
    }
}

static void random_posted(void *opaque)
{
    random_read(opaque);
    object_unref(opaque);
}

static void random_start(RngBackend *b)
{
    RngRandom *r = container_of(b, RngRandom, rng);

    if (r->source) {
        loop_fd_set_events(r->source, EPOLLIN);
    } else {
        object_ref(&b->obj);
        loop_post(b->obj.vm->loop, random_posted, r);
    }
}

static void random_init(Object *obj) { ((RngRandom *)(void *)obj)->fd = -1; }

static bool random_complete(Object *obj, GError **err)
{
    RngRandom *r = (RngRandom *)(void *)obj;

    r->fd = open(r->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (r->fd < 0) {
        return error_set_errno(err, errno, "cannot open filename=%s", r->filename);
    }
    r->source = loop_fd_add(obj->vm->loop, r->fd, 0, random_ready, r);
    return true;
}

static void random_finalize(Object *obj)
{
    RngRandom *r = (RngRandom *)(void *)obj;

    loop_fd_remove(r->source);
    if (r->fd >= 0) {
        close(r->fd);
    }
}

static const Property random_props[] = {
    PROP_STRING("filename", RngRandom, filename, .type = "string", .def_str = "/dev/urandom",
                .help = "where the bytes come from"),
    {}};

static const RngOps random_ops = {.start = random_start};

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
