/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-balloon's own part of its state, as QEMU 7.2 has it: num_pages, actual; with their features
 * virtio-balloon-device/free-page-report (id and status of hints) and /page-poison.
 *
 * The statistics' buffer is not in it: the queue's position, one ahead of what was given back, says that there was one.
 */
#include "hw/virtio/virtio_balloon.h"

#define PREFIX "virtio-balloon-device/"

typedef struct BalloonLoaded {
    uint32_t num_pages, actual, hint_id, hint_status, poison;
} BalloonLoaded;

static VirtioBalloon *virtio_balloon(VirtioDevice *vdev) { return container_of(vdev, VirtioBalloon, vdev); }

void virtio_balloon_save(VirtioDevice *vdev, StateBuf *buf)
{
    const VirtioBalloon *s = virtio_balloon(vdev);

    state_put_be(buf, s->num_pages, 4);
    state_put_be(buf, s->actual, 4);
    if (virtio_has_feature(vdev, VIRTIO_BALLOON_F_FREE_PAGE_HINT)) {
        virtio_put_part(buf, PREFIX "free-page-report");
        state_put_be(buf, s->hint_id, 4);
        state_put_be(buf, s->hint_status, 4);
    }
    if (virtio_has_feature(vdev, VIRTIO_BALLOON_F_PAGE_POISON)) {
        virtio_put_part(buf, PREFIX "page-poison");
        state_put_be(buf, s->poison, 4);
    }
}

static bool load_part(BalloonLoaded *l, StateBuf *buf, GError **err)
{
    char name[256];

    if (!virtio_get_part(buf, name, err)) {
        return false;
    }
    if (!strcmp(name, PREFIX "free-page-report")) {
        l->hint_id = (uint32_t)state_get_be(buf, 4);
        l->hint_status = (uint32_t)state_get_be(buf, 4);
        return l->hint_status <= 3 || error_set(err, "free page hints have the status %u", l->hint_status);
    }
    if (!strcmp(name, PREFIX "page-poison")) {
        l->poison = (uint32_t)state_get_be(buf, 4);
        return true;
    }
    return error_set(err, "a balloon has no part '%s'", name);
}

bool virtio_balloon_load(VirtioDevice *vdev, StateBuf *buf, uint64_t features, GError **err)
{
    VirtioBalloon *s = virtio_balloon(vdev);
    BalloonLoaded l = {0};

    l.num_pages = (uint32_t)state_get_be(buf, 4);
    l.actual = (uint32_t)state_get_be(buf, 4);
    while (virtio_begins_part(buf, PREFIX)) {
        if (!load_part(&l, buf, err)) {
            return false;
        }
    }
    g_free(s->loaded);
    s->loaded = g_memdup2(&l, sizeof l);
    return true;
}

void virtio_balloon_take_loaded(VirtioDevice *vdev)
{
    VirtioBalloon *s = virtio_balloon(vdev);
    g_autofree BalloonLoaded *l = g_steal_pointer(&s->loaded);

    if (l) {
        s->num_pages = l->num_pages;
        s->actual = l->actual;
        s->hint_id = l->hint_id;
        s->hint_status = l->hint_status;
        s->poison = l->poison;
        s->stats_rewind = true;
    }
}
