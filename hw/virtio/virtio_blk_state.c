/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-blk's own part of its state: requests that failed and will be tried again (werror=stop), each as 1, the queue's
 * number (with several queues), and the buffer (virtqueue_saved.c); at the end 0.
 */
#include "hw/virtio/virtio_blk.h"

/* Of a stream, until it is taken. */
typedef struct BlkLoaded {
    GArray *requests;  /* LoadedRequest */
} BlkLoaded;

typedef struct LoadedRequest {
    unsigned queue;
    VirtSavedElement elem;
} LoadedRequest;

void virtio_blk_save(VirtioDevice *vdev, StateBuf *buf)
{
    const VirtioBlk *s = virtio_blk(vdev);

    for (unsigned i = 0; i < s->num_queues; i++) {
        for (const VirtioBlkRequest *req = s->queues[i].kept; req; req = req->next) {
            state_put_be(buf, 1, 1);
            if (s->num_queues > 1) {
                state_put_be(buf, i, 4);
            }
            virt_element_save(vdev, buf, &req->elem);
        }
    }
    state_put_be(buf, 0, 1);
}

static void free_request(void *data)
{
    virt_saved_element_clear(&((LoadedRequest *)data)->elem);
}

void virtio_blk_free_loaded(VirtioBlk *s)
{
    if (s->loaded) {
        g_array_free(s->loaded->requests, true);
        g_clear_pointer(&s->loaded, g_free);
    }
}

static bool load_request(VirtioBlk *s, StateBuf *buf, LoadedRequest *r, GError **err)
{
    uint64_t queue = s->num_queues > 1 ? state_get_be(buf, 4) : 0;

    if (!virt_element_load(&s->vdev, buf, &r->elem, err)) {
        return false;
    }
    if (queue >= s->num_queues || !r->elem.in || !r->elem.out) {
        error_set(err, "a request of queue %" PRIu64 " with %u and %u pieces", queue, r->elem.out, r->elem.in);
        free_request(r);
        return false;
    }
    r->queue = (unsigned)queue;
    return true;
}

bool virtio_blk_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err)
{
    VirtioBlk *s = virtio_blk(vdev);
    uint64_t more;

    virtio_blk_free_loaded(s);
    s->loaded = g_new0(BlkLoaded, 1);
    s->loaded->requests = g_array_new(false, true, sizeof(LoadedRequest));
    g_array_set_clear_func(s->loaded->requests, free_request);
    while ((more = state_get_be(buf, 1)) == 1) {
        LoadedRequest r = {0};

        if (s->loaded->requests->len == VIRTQUEUE_MAX_SIZE) {
            return error_set(err, "more than %u requests wait to be tried again", VIRTQUEUE_MAX_SIZE);
        }
        if (!load_request(s, buf, &r, err)) {
            return false;
        }
        g_array_append_val(s->loaded->requests, r);
    }
    return !more || error_set(err, "a byte %u where a request begins or the list ends", (unsigned)more);
}

/* A request that the queue or the memory does not have is the stream's fault: the device is broken then. */
void virtio_blk_take_loaded(VirtioDevice *vdev)
{
    VirtioBlk *s = virtio_blk(vdev);

    for (unsigned i = 0; s->loaded && i < s->loaded->requests->len; i++) {
        const LoadedRequest *r = &g_array_index(s->loaded->requests, LoadedRequest, s->loaded->requests->len - 1 - i);
        g_autoptr(GError) why = NULL;
        VirtElement *e = virt_saved_element_adopt(virtio_queue(vdev, r->queue), &r->elem, &why);
        VirtioBlkRequest *req = e ? container_of(e, VirtioBlkRequest, elem) : NULL;

        if (!e) {
            virtio_broken(vdev, "%s", why->message);
        } else if (!virtio_blk_parse_loaded(s, req)) {
            virtio_broken(vdev, "a request that was to be tried again is none");
            virtqueue_drop(e);
        } else {
            req->next = s->queues[r->queue].kept;
            s->queues[r->queue].kept = req;
        }
    }
    virtio_blk_free_loaded(s);
}
