/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts of virtio-pci. Each MSI-X vector, and INTx, has an eventfd that queue threads write; behind it is either the
 * accelerator (irqfd: the guest is interrupted without anybody else running) or, while the vector is masked and where
 * there are no irqfds, the main loop, which makes it pending or sends it.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/virtio/virtio_pci.h"
#include "util/trace.h"

static VirtioPci *proxy_of(PciDevice *pci) { return container_of(pci, VirtioPci, pci); }

/* ---- INTx ------------------------------------------------------------------------------------ */

void virtio_pci_update_intx(VirtioPci *p)
{
    pci_set_irq(&p->pci, p->vdev && !msix_enabled(&p->pci) && (__atomic_load_n(&p->vdev->isr, __ATOMIC_SEQ_CST) & 1));
}

uint8_t virtio_pci_read_isr(VirtioPci *p)
{
    uint8_t isr = __atomic_exchange_n(&p->vdev->isr, 0, __ATOMIC_SEQ_CST);

    virtio_pci_update_intx(p);
    return isr;
}

/* ---- the main loop's part ---------------------------------------------------------------------- */

static bool take(VirtioPciVector *v)
{
    uint64_t count;

    return v->fd >= 0 && read(v->fd, &count, sizeof count) == sizeof count;
}

static void deliver(VirtioPci *p, unsigned index)
{
    if (index == p->n_vectors) {
        if (p->vdev && __atomic_load_n(&p->vdev->kernel, __ATOMIC_RELAXED)) { /* which does not know the ISR */
            __atomic_or_fetch(&p->vdev->isr, 1, __ATOMIC_SEQ_CST);
        }
        virtio_pci_update_intx(p);
    } else {
        msix_notify(&p->pci, index);
    }
}

static void on_event(void *opaque, uint32_t events)
{
    VirtioPciVector *v = opaque;

    if (take(v)) {
        deliver(v->proxy, v->index);
    }
}

static void listen_in_main(VirtioPciVector *v)
{
    if (!v->source && v->fd >= 0) {
        v->source = loop_fd_add(v->proxy->pci.dev.vm->loop, v->fd, EPOLLIN, on_event, v);
    }
}

/* ---- routes ---------------------------------------------------------------------------------------- */

/* True: the accelerator injects it. */
static bool route(VirtioPciVector *v, MsiMessage msi)
{
    Accel *accel = v->proxy->pci.dev.vm->accel;

    if (v->route >= 0) {
        return accel->ops->msi_route_update(accel, v->route, msi);
    }
    if (!accel || !accel->ops->irqfd_add || accel_irqchip(v->proxy->pci.dev.vm) == IRQCHIP_OFF) {
        return false;
    }
    v->route = accel->ops->msi_route_add(accel, msi, NULL);
    if (v->route >= 0 && !accel->ops->irqfd_add(accel, v->route, v->fd, -1, NULL)) {
        accel->ops->msi_route_del(accel, v->route);
        v->route = -1;
    }
    return v->route >= 0;
}

static void unroute(VirtioPciVector *v)
{
    Accel *accel = v->proxy->pci.dev.vm->accel;

    if (v->route >= 0) {
        accel->ops->irqfd_del(accel, v->route, v->fd);
        accel->ops->msi_route_del(accel, v->route);
        v->route = -1;
    }
}

static void use(PciDevice *pci, unsigned vector, MsiMessage msi)
{
    VirtioPciVector *v = &proxy_of(pci)->vectors[vector];

    if (route(v, msi)) {
        loop_fd_remove(g_steal_pointer(&v->source));
    } else {
        unroute(v);
        listen_in_main(v);
    }
    trace(virtio_pci_vector, "%u irqfd %d", vector, v->route >= 0);
}

static void release(PciDevice *pci, unsigned vector)
{
    VirtioPciVector *v = &proxy_of(pci)->vectors[vector];

    unroute(v);
    listen_in_main(v);
    trace(virtio_pci_vector, "%u masked", vector);
}

static bool poll_pending(PciDevice *pci, unsigned vector) { return take(&proxy_of(pci)->vectors[vector]); }

static const MsixNotifiers notifiers = {.use = use, .release = release, .poll = poll_pending};

/* ---- for the transport ---------------------------------------------------------------------------- */

int virtio_pci_call_fd(void *opaque, uint16_t vector)
{
    VirtioPci *p = opaque;

    if (!msix_enabled(&p->pci)) {
        vector = (uint16_t)p->n_vectors;
    } else if (vector >= p->n_vectors) {
        return -1;
    }
    return p->vectors[vector].fd;
}

void virtio_pci_notify(void *opaque, uint16_t vector, bool config)
{
    const int fd = virtio_pci_call_fd(opaque, vector);

    if (fd >= 0) {
        eventfd_write(fd, 1);
    }
}

uint16_t virtio_pci_use_vector(VirtioPci *p, uint16_t old, uint16_t vector)
{
    if (old != VIRTIO_NO_VECTOR) {
        msix_vector_unuse(&p->pci, old);
    }
    if (vector >= p->n_vectors) {
        return VIRTIO_NO_VECTOR;
    }
    listen_in_main(&p->vectors[vector]);
    return msix_vector_use(&p->pci, vector) ? vector : VIRTIO_NO_VECTOR;
}

void virtio_pci_unuse_vectors(VirtioPci *p)
{
    if (p->n_vectors) {
        msix_unuse_all(&p->pci);
    }
    for (unsigned i = 0; i <= p->n_vectors; i++) {
        take(&p->vectors[i]); /* of before the reset */
    }
}

bool virtio_pci_vectors_init(VirtioPci *p, unsigned vectors, GError **err)
{
    if (vectors && !msix_init_exclusive_bar(&p->pci, vectors, 1, err)) {
        return false;
    }
    p->n_vectors = vectors;
    p->vectors = g_new0(VirtioPciVector, vectors + 1);
    for (unsigned i = 0; i <= vectors; i++) {
        p->vectors[i] = (VirtioPciVector){p, i, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), -1, NULL};
        if (p->vectors[i].fd < 0) {
            error_set_errno(err, errno, "cannot make the eventfd of interrupt %u", i);
            p->n_vectors = i;
            return false;
        }
    }
    listen_in_main(&p->vectors[vectors]);
    if (vectors) {
        msix_set_notifiers(&p->pci, &notifiers);
    }
    return true;
}

void virtio_pci_vectors_cleanup(VirtioPci *p)
{
    if (!p->vectors) {
        return;
    }
    if (p->pci.msix) {
        msix_unuse_all(&p->pci);
        msix_set_notifiers(&p->pci, NULL);
    }
    for (unsigned i = 0; i <= p->n_vectors; i++) {
        unroute(&p->vectors[i]);
        loop_fd_remove(g_steal_pointer(&p->vectors[i].source));
        if (p->vectors[i].fd >= 0) {
            close(p->vectors[i].fd);
        }
    }
    g_clear_pointer(&p->vectors, g_free);
}
