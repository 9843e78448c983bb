/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-net over a netdev with vhost, against a kernel of the test's own (vhost-fake.h), two pairs of queues: who has the
 * packets when, over stops, links that go down, netdevs that go and kernels that refuse.
 */
#include "tests/unit/vhost-fake.h"

#include "core/user_object.h"
#include "hw/virtio/virtio_net.h"

#define RAM (512 * KIB)
#define PAIRS 2
#define QUEUES (2 * PAIRS + 1)
#define DATA 0x40000
#define BIT(n) (UINT64_C(1) << (n))
#define VRING "num base addr call err busyloop kick "
#define START "table features " VRING VRING "backend backend"
#define STOP "backend backend get-base kick call err get-base kick call err"

FAKE_KERNEL

/* A netdev whose packets the test's kernel moves. */
typedef struct TestNetdev {
    Netdev netdev;
    unsigned header;          /* longest vnet header */
    uint32_t offloads;        /* of packets with one */
    struct {
        int vhost, tap;
        bool kernel;
        unsigned packets;     /* that came from the card through Kiln */
    } ports[PAIRS];
    unsigned next;
} TestNetdev;

typedef struct TestPort {
    TestNetdev *netdev;
    unsigned index;
} TestPort;

static TestPort test_ports[PAIRS];
static uint32_t more_offloads;

static TestNetdev *netdev_of(void *opaque) { return ((TestPort *)opaque)->netdev; }

static bool port_receive(void *opaque, const NetPacket *packet)
{
    netdev_of(opaque)->ports[((TestPort *)opaque)->index].packets++;
    return true;
}

static unsigned port_caps(void *opaque, uint32_t *offloads)
{
    *offloads = netdev_of(opaque)->header ? netdev_of(opaque)->offloads : 0;
    return netdev_of(opaque)->header;
}

static void port_set_vnet(void *opaque, unsigned len, uint32_t offloads) {}
static int port_fd(void *opaque) { return netdev_of(opaque)->ports[((TestPort *)opaque)->index].tap; }

static bool port_vhost(void *opaque, NetVhost *vhost)
{
    *vhost = (NetVhost){netdev_of(opaque)->ports[((TestPort *)opaque)->index].vhost, 50};
    return true;
}

static void port_set_kernel(void *opaque, bool on) { netdev_of(opaque)->ports[((TestPort *)opaque)->index].kernel = on; }

static const NetPortOps port_ops = {
    .receive = port_receive,
    .vnet_caps = port_caps,
    .set_vnet = port_set_vnet,
    .fd = port_fd,
    .vhost = port_vhost,
    .set_kernel = port_set_kernel,
};

static void test_netdev_close(Netdev *netdev) {}
static const NetdevOps test_netdev_ops = {.close = test_netdev_close};
KILN_TYPE(netdev_vhost_test) = {
    .name = "netdev-vhost-test", .parent = "netdev", .size = sizeof(TestNetdev), .ops = &test_netdev_ops};
KILN_TYPE(vhost_net_test_bus) = {.name = "vhost-net-test-bus", .parent = "virtio-bus", .size = sizeof(Bus)};

typedef struct Rig {
    Vm *vm;
    Region ram;
    uint8_t *host;
    VirtioDevice *vdev;
    TestNetdev *netdev;
    int call;
    unsigned interrupts;
    uint16_t avail[QUEUES];
} Rig;

static void notify(void *opaque, uint16_t vector, bool config) { ((Rig *)opaque)->interrupts++; }
static int call_fd(void *opaque, uint16_t vector) { return ((Rig *)opaque)->call; }
static const VirtioTransport transport = {.notify = notify, .call_fd = call_fd};

static void add_netdev(Rig *r, unsigned header)
{
    Object *obj = object_new(r->vm, type_find("netdev-vhost-test"), NULL);

    r->netdev = container_of(obj, TestNetdev, netdev.obj);
    r->netdev->header = header;
    r->netdev->offloads = NET_OFFLOAD_CSUM | more_offloads;
    r->netdev->netdev.ops = &test_netdev_ops;
    r->netdev->netdev.id = g_strdup("n");
    g_ptr_array_add(net_state(r->vm)->netdevs, &r->netdev->netdev);
    for (unsigned i = 0; i < PAIRS; i++) {
        r->netdev->ports[i].vhost = eventfd(0, EFD_CLOEXEC);
        r->netdev->ports[i].tap = 1000 + (int)i;
        test_ports[i] = (TestPort){r->netdev, i};
        netdev_add_port(&r->netdev->netdev, &port_ops, &test_ports[i]);
        fake_open(&fake_kernels[i], r->netdev->ports[i].vhost);
        fake_kernels[i].owned = true;
    }
}

static bool rig_try(Rig *r, unsigned header, const char *option, GError **err)
{
    Device *dev;

    *r = (Rig){.vm = vm_new(NULL)};
    clock_virtual_detach(r->vm);
    add_netdev(r, header);
    g_assert_true(region_init_ram(&r->ram, r->vm, "ram", RAM, NULL));
    region_add(&r->vm->system_memory, 0, &r->ram);
    r->host = region_host(&r->ram);
    r->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    dev = device_new(r->vm, "virtio-net-device");
    r->vdev = virtio_device(dev);
    virtio_set_transport(r->vdev, &transport, r, dev);
    r->vdev->host_features |= BIT(VIRTIO_F_VERSION_1);
    object_set_str(dev, "netdev", "n");
    object_set_bool(dev, "mq", true);
    if (option) {
        object_set_bool(dev, option, true);
    }
    if (!device_realize(dev, bus_new(r->vm, "vhost-net-test-bus", NULL, "bus"), err)) {
        object_unref(&dev->obj);
        r->vdev = NULL;
        return false;
    }
    r->vdev->vm_running = true;
    return true;
}

static void rig_run(Rig *r)
{
    for (unsigned i = 0; i < 100 && loop_run_once(r->vm->loop, 0); i++) {
    }
}

static void forget_calls(void)
{
    for (unsigned i = 0; i < PAIRS; i++) {
        g_free(fake_take(&fake_kernels[i]));
    }
}

static void rig_open(Rig *r)
{
    GError *err = NULL;

    rig_try(r, VIRTIO_NET_HDR_MAX, NULL, &err);
    g_assert_no_error(err);
    forget_calls();
}

static void rig_close(Rig *r)
{
    int fds[PAIRS];

    for (unsigned i = 0; i < PAIRS; i++) {
        fds[i] = fake_kernels[i].fd;
    }
    if (r->vdev) {
        device_unrealize(&r->vdev->dev);
    }
    rig_run(r); /* messages that are on their way */
    net_cleanup(r->vm);
    fake_free_vm(r->vm);
    for (unsigned i = 0; i < PAIRS; i++) {
        close(fds[i]);
        fake_clear(&fake_kernels[i]);
    }
    region_destroy(&r->ram);
    close(r->call);
}

static void drive(Rig *r)
{
    virtio_set_status(r->vdev, 0);
    memset(r->host, 0, DATA);
    memset(r->avail, 0, sizeof r->avail);
    virtio_set_status(r->vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    virtio_set_features(r->vdev, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_MQ) |
                                     BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_STATUS) |
                                     (r->vdev->host_features & BIT(VIRTIO_NET_F_HOST_USO)));
    virtio_set_status(r->vdev, 0xb);
    fake_driver_queues(r->vdev, QUEUES);
    virtio_set_status(r->vdev, 0xf);
    rig_run(r);
}

static void offer(Rig *r, unsigned queue, uint64_t addr, uint32_t len, bool write)
{
    fake_driver_offer(r->vdev, r->host, &r->avail[queue], queue, addr, len, write);
}

static unsigned used(const Rig *r, unsigned queue) { return fake_driver_used(r->host, queue); }

/* Until so many are; by a thread of the card's own, perhaps. */
static void wait_used(Rig *r, unsigned queue, unsigned count)
{
    while (used(r, queue) < count) {
        rig_run(r);
        g_usleep(1000);
    }
    g_assert_cmpuint(used(r, queue), ==, count);
}

/* Where are the pairs while the kernel has not got them? */
static bool in_main_loop(const Rig *r)
{
    bool all = true, none = true;

    for (unsigned i = 0; i < QUEUES; i++) {
        const bool here = virtio_queue_loop(virtio_queue(r->vdev, i)) == r->vm->loop;

        all &= here;
        none &= !here;
    }
    g_assert_true(all || none);
    return all;
}

static bool in_kernel(const Rig *r, unsigned pair)
{
    const FakeKernel *k = &fake_kernels[pair];
    const bool is = k->vrings[0].backend >= 0;

    g_assert_cmpint(is, ==, k->vrings[1].backend >= 0);
    g_assert_cmpint(is, ==, r->netdev->ports[pair].kernel);
    return is;
}

static void expect_calls(unsigned pair, const char *wanted)
{
    g_autofree char *calls = fake_take(&fake_kernels[pair]);

    g_assert_cmpstr(calls, ==, wanted);
}

/* The guest sends a packet of 60 bytes on a pair. */
static void send(Rig *r, unsigned pair)
{
    memset(r->host + DATA, 0, 12);
    memset(r->host + DATA + 12, 0xff, 60);
    offer(r, 2 * pair + 1, DATA, 72, false);
}

/* ---- tests ----------------------------------------------------------------------------------------- */

static void test_start(void)
{
    Rig r;

    rig_try(&r, VIRTIO_NET_HDR_MAX, NULL, NULL);
    expect_calls(0, "get-features");
    g_assert_cmphex(r.vdev->host_features & (BIT(VIRTIO_F_RING_RESET) | BIT(VIRTIO_F_RING_PACKED)), ==, 0);
    g_assert_cmphex(r.vdev->host_features & BIT(VIRTIO_NET_F_MRG_RXBUF), !=, 0);
    drive(&r);
    for (unsigned i = 0; i < PAIRS; i++) {
        expect_calls(i, i ? "get-features " START : START);
        g_assert_true(in_kernel(&r, i));
        g_assert_cmphex(fake_kernels[i].features, ==, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF));
        for (unsigned k = 0; k < 2; k++) {
            g_assert_cmpint(fake_kernels[i].vrings[k].backend, ==, 1000 + (int)i);
            g_assert_cmpuint(fake_kernels[i].vrings[k].busyloop, ==, 50);
            g_assert_cmphex(fake_kernels[i].vrings[k].addr.desc_user_addr, ==, (uintptr_t)r.host + FAKE_RING(2 * i + k));
            g_assert_cmpint(fake_kernels[i].vrings[k].kick, ==, virtio_kick_fd(r.vdev, 2 * i + k));
        }
    }
    virtio_set_status(r.vdev, 0);
    for (unsigned i = 0; i < PAIRS; i++) {
        expect_calls(i, STOP);
        g_assert_false(in_kernel(&r, i));
    }
    rig_close(&r);
}

/* A netdev without headers: the kernel makes them. */
static void test_headers(void)
{
    Rig r;

    g_assert_true(rig_try(&r, 0, NULL, NULL));
    drive(&r);
    g_assert_cmphex(fake_kernels[1].features, ==, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VHOST_NET_F_VIRTIO_NET_HDR));
    rig_close(&r);
}

/* Hashes are not the kernel's. */
static void test_hashes(void)
{
    Rig r;

    g_assert_true(rig_try(&r, VIRTIO_NET_HDR_MAX, "rss", NULL));
    g_assert_cmphex(r.vdev->host_features & BIT(VIRTIO_NET_F_RSS), ==, 0);
    rig_close(&r);
}

/* Bundles of UDP packets are the tap's affair: offered where it does both kinds, and vhost is not told of them. */
static void test_bundles(void)
{
    static const uint32_t able[] = {0, NET_OFFLOAD_USO4, NET_OFFLOAD_USO6, NET_OFFLOAD_USO4 | NET_OFFLOAD_USO6};
    static const char *const options[] = {"host_uso", "guest_uso4", "guest_uso6"};
    static const unsigned bits[] = {VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6};
    Rig r;

    for (unsigned i = 0; i < G_N_ELEMENTS(able) * G_N_ELEMENTS(options); i++) {
        more_offloads = able[i / 3];
        g_assert_true(rig_try(&r, i == 9 ? 10 : VIRTIO_NET_HDR_MAX, options[i % 3], NULL));
        const uint64_t uso = BIT(bits[0]) | BIT(bits[1]) | BIT(bits[2]);
        g_assert_cmphex(r.vdev->host_features & uso, ==, i > 9 ? BIT(bits[i % 3]) : 0);
        drive(&r);
        g_assert_cmphex(fake_kernels[0].features & uso, ==, 0);
        rig_close(&r);
    }
    more_offloads = 0;
}

/* The control queue is Kiln's while the kernel has the pairs. */
static void test_control(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    static const uint8_t command[] = {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, PAIRS, 0};
    uint8_t *ring = r.host + FAKE_RING(QUEUES - 1);
    memcpy(r.host + DATA, command, sizeof command);
    r.host[DATA + 16] = 0x55;
    store64_le(ring, DATA);
    store32_le(ring + 8, sizeof command);
    store16_le(ring + 12, 1);
    store16_le(ring + 14, 1);
    store64_le(ring + 16, DATA + 16);
    store32_le(ring + 24, 1);
    store16_le(ring + 28, 2);
    store16_le(ring + 0x1000 + 2, 1);
    virtio_kick(virtio_queue(r.vdev, QUEUES - 1));
    rig_run(&r);
    g_assert_cmpuint(used(&r, QUEUES - 1), ==, 1);
    g_assert_cmpuint(r.host[DATA + 16], ==, VIRTIO_NET_OK);
    g_assert_true(in_kernel(&r, 1));
    rig_close(&r);
}

/* Link down: the kernel lets go, what the guest sends is lost, and nothing is lost or doubled in the rings. */
static void test_link(void)
{
    Rig r;
    uint8_t byte = 1;

    rig_open(&r);
    drive(&r);
    send(&r, 0);
    g_assert_true(fake_serve(&fake_kernels[0], 1, &byte));
    forget_calls();
    g_assert_true(net_set_link(r.vm, "n", false, NULL));
    for (unsigned i = 0; i < PAIRS; i++) {
        expect_calls(i, STOP);
        g_assert_false(in_kernel(&r, i));
    }
    g_assert_false(in_main_loop(&r));
    send(&r, 0);
    wait_used(&r, 1, 2);
    g_assert_cmpuint(r.netdev->ports[0].packets, ==, 0);
    g_assert_true(net_set_link(r.vm, "n", true, NULL));
    expect_calls(0, START);
    g_assert_true(in_kernel(&r, 1));
    g_assert_true(in_main_loop(&r));
    g_assert_cmpuint(fake_kernels[0].vrings[1].base, ==, 2);
    send(&r, 0);
    g_assert_true(fake_serve(&fake_kernels[0], 1, &byte));
    g_assert_cmpuint(used(&r, 1), ==, 3);
    /* Down before the driver comes: the kernel is not asked. */
    g_assert_true(net_set_link(r.vm, "n", false, NULL));
    forget_calls();
    drive(&r);
    expect_calls(0, "");
    g_assert_false(in_main_loop(&r));
    rig_close(&r);
}

/* The VM stops: positions are fetched, and go on. */
static void test_stop(void)
{
    Rig r;
    uint8_t byte = 1;

    rig_open(&r);
    drive(&r);
    for (unsigned round = 1; round < 20; round++) {
        send(&r, 1);
        g_assert_true(fake_serve(&fake_kernels[1], 1, &byte));
        r.vdev->vm_running = false;
        virtio_update(r.vdev);
        g_assert_false(in_kernel(&r, 1));
        r.vdev->vm_running = true;
        virtio_update(r.vdev);
        g_assert_cmpuint(fake_kernels[1].vrings[1].base, ==, round);
        g_assert_cmpuint(used(&r, 3), ==, round);
    }
    g_assert_cmpuint(r.netdev->ports[1].packets, ==, 0);
    rig_close(&r);
}

/* The kernel refuses to start one pair: Kiln moves the packets of all, in threads of its own as any card's, over stops, too. */
static void test_refused(void)
{
    Rig r;

    rig_open(&r);
    fake_kernels[1].refuse = "backend";
    fake_kernels[1].refuse_index = 1;
    drive(&r);
    g_assert_false(in_main_loop(&r));
    expect_calls(0, START " " STOP);
    expect_calls(1, START " " STOP);
    g_assert_false(in_kernel(&r, 0));
    g_assert_false(r.vdev->broken);
    for (unsigned round = 1; round <= 20; round++) {
        send(&r, 0);
        wait_used(&r, 1, round);
        while (r.netdev->ports[0].packets < round) { /* there is a relay before it: the test's netdev stays where it is */
            rig_run(&r);
        }
        fake_kernels[1].refuse = "backend";
        fake_kernels[1].refuse_index = 1;
        r.vdev->vm_running = false;
        virtio_update(r.vdev);
        r.vdev->vm_running = true;
        virtio_update(r.vdev);
        g_assert_false(in_kernel(&r, 0));
        g_assert_false(in_main_loop(&r));
    }
    g_assert_cmpuint(r.netdev->ports[0].packets, ==, 20);
    /* The next start is another try. */
    drive(&r);
    g_assert_true(in_kernel(&r, 0));
    g_assert_true(in_kernel(&r, 1));
    g_assert_true(in_main_loop(&r));
    rig_close(&r);
}

/* The netdev goes from under the card; the kernel has let go before. */
static void test_netdev_gone(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    forget_calls();
    g_assert_true(netdev_del(r.vm, "n", NULL));
    expect_calls(0, STOP);
    expect_calls(1, STOP);
    send(&r, 0);
    wait_used(&r, 1, 1); /* lost, as on a card without a cable; in a thread of its own now */
    r.vdev->vm_running = false;
    virtio_update(r.vdev);
    expect_calls(0, "");
    rig_close(&r);
}

static void test_unplug(void)
{
    Rig r;

    rig_open(&r);
    drive(&r);
    forget_calls();
    device_unrealize(&r.vdev->dev);
    expect_calls(0, STOP);
    g_assert_false(r.netdev->ports[1].kernel);
    r.vdev = NULL;
    rig_close(&r);
}

static void test_filter(void)
{
    g_autoptr(GError) err = NULL;
    Rig r;

    rig_open(&r);
    g_assert_null(user_object_add_text(r.vm, "filter-buffer,id=f,netdev=n,interval=1000", &err));
    g_assert_nonnull(strstr(err->message, "Vhost is not supported"));
    rig_close(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vhost-net/start", test_start);
    g_test_add_func("/vhost-net/headers", test_headers);
    g_test_add_func("/vhost-net/hashes", test_hashes);
    g_test_add_func("/vhost-net/bundles", test_bundles);
    g_test_add_func("/vhost-net/control", test_control);
    g_test_add_func("/vhost-net/link", test_link);
    g_test_add_func("/vhost-net/stop", test_stop);
    g_test_add_func("/vhost-net/refused", test_refused);
    g_test_add_func("/vhost-net/netdev-gone", test_netdev_gone);
    g_test_add_func("/vhost-net/unplug", test_unplug);
    g_test_add_func("/vhost-net/filter", test_filter);
    return g_test_run();
}
