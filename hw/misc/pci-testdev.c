/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "pci-testdev": a function that measures how fast accesses to memory and ports are, alone and
 * with an ioeventfd. kvm-unit-tests use it. Interface: QEMU's docs/specs/pci-testdev.
 *
 * Writing n to byte 0 of a BAR starts test n and shows its header there:
 *
 *   0 u8 number   1 u8 width of an access   4 u32 offset to write to   8 u32 value to write
 *   12 u32 matching writes so far           16 name, ends with 0
 *
 * A width of 0 stands for "there is no such test". The tests are: 0 no eventfd, 1 an eventfd for
 * any value, 2 an eventfd for one value. Writes that the kernel turned into an eventfd are not
 * counted.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/pci/pci.h"
#include "util/trace.h"

#define MEM_BAR_SIZE 4096
#define IO_BAR_SIZE 256
#define HEADER_SIZE 16
#define TESTS_PER_BAR 3
#define TESTS (2 * TESTS_PER_BAR)

typedef struct TestInfo {
    const char *name;
    uint16_t offset;
    uint8_t data;
    bool eventfd, match;
} TestInfo;

typedef struct PciTestdev {
    PciDevice pci;
    Region mem, io;
    Region membar;
    uint64_t membar_size;    /* property; 0: no BAR 2 */
    int current;             /* index in tests; -1: none */
    uint32_t count;
    int eventfd;             /* of the running test; -1: none */
} PciTestdev;

static const TestInfo tests[TESTS] = {
    {"mmio-no-eventfd", 0x800, 0xfa, false, false},
    {"mmio-wildcard-eventfd", 0x801, 0xce, true, false},
    {"mmio-datamatch-eventfd", 0x802, 0xfa, true, true},
    {"portio-no-eventfd", 0x83, 0xfa, false, false},
    {"portio-wildcard-eventfd", 0x84, 0xce, true, false},
    {"portio-datamatch-eventfd", 0x85, 0xfa, true, true},
};

/* ---- tests ----------------------------------------------------------------------------- */

static Region *test_region(PciTestdev *d) { return d->current < TESTS_PER_BAR ? &d->mem : &d->io; }

static RegionEventFd test_event(const PciTestdev *d)
{
    const TestInfo *test = &tests[d->current];

    return (RegionEventFd){
        .offset = test->offset, .size = 1, .match = test->match, .value = test->data,
        .fd = d->eventfd};
}

static void stop_test(PciTestdev *d)
{
    if (d->current >= 0 && d->eventfd >= 0) {
        region_del_eventfd(test_region(d), test_event(d));
        close(d->eventfd);
        d->eventfd = -1;
    }
    d->current = -1;
}

static void start_test(PciTestdev *d, unsigned number, bool io)
{
    stop_test(d);
    if (number >= TESTS_PER_BAR) {
        return;
    }
    d->current = (int)number + (io ? TESTS_PER_BAR : 0);
    d->count = 0;
    if (tests[d->current].eventfd) {
        d->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (d->eventfd < 0) {
            guest_error(&d->pci.dev, "no eventfd for test %u: %s", number, g_strerror(errno));
            d->current = -1;
            return;
        }
        region_add_eventfd(test_region(d), test_event(d));
    }
    trace(pci_testdev_start, "%s", tests[d->current].name);
}

/* ---- guest side -------------------------------------------------------------------------- */

static uint64_t testdev_read(void *opaque, uint64_t offset, unsigned size)
{
    const PciTestdev *d = opaque;
    uint8_t header[HEADER_SIZE] = {0};
    const TestInfo *test;

    if (d->current < 0) {
        return 0;
    }
    test = &tests[d->current];
    if (offset >= HEADER_SIZE) {
        offset -= HEADER_SIZE;
        return offset < strlen(test->name) ? (uint8_t)test->name[offset] : 0;
    }
    header[0] = d->current;
    header[1] = 1;
    store32_le(header + 4, test->offset);
    store32_le(header + 8, test->data);
    store32_le(header + 12, d->count);
    trace(pci_testdev_read, "@0x%x -> 0x%02x", (unsigned)offset, header[offset]);
    return header[offset];
}

static void testdev_write(PciTestdev *d, uint64_t offset, uint64_t value, bool io)
{
    trace(pci_testdev_write, "%s @0x%x <- 0x%02x", io ? "port" : "memory", (unsigned)offset,
          (unsigned)value);
    if (offset == 0) {
        start_test(d, value, io);
        return;
    }
    if (d->current < 0 || (d->current >= TESTS_PER_BAR) != io ||
        offset != tests[d->current].offset) {
        return;
    }
    /* Only the wildcard tests take any value. */
    if (value == tests[d->current].data || (tests[d->current].eventfd &&
                                            !tests[d->current].match)) {
        d->count++;
    }
}

static void mem_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    testdev_write(opaque, offset, value, false);
}

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    testdev_write(opaque, offset, value, true);
}

static const RegionOps mem_ops = {
    .read = testdev_read,
    .write = mem_write,
    .impl = {.min_size = 1, .max_size = 1},
};

static const RegionOps io_ops = {
    .read = testdev_read,
    .write = io_write,
    .impl = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle ----------------------------------------------------------------------------- */

static bool testdev_realize(Device *dev, GError **err)
{
    PciTestdev *d = container_of(dev, PciTestdev, pci.dev);

    if (d->membar_size && (!is_power_of_two(d->membar_size) || d->membar_size < 4096)) {
        return error_set(err, "membar=%" PRIu64 ": it must be a power of two, 4096 or more",
                         d->membar_size);
    }
    d->current = d->eventfd = -1;
    region_init_io(&d->mem, &mem_ops, d, "pci-testdev-mmio", MEM_BAR_SIZE);
    region_init_io(&d->io, &io_ops, d, "pci-testdev-portio", IO_BAR_SIZE);
    pci_register_bar(&d->pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &d->mem);
    pci_register_bar(&d->pci, 1, PCI_BASE_ADDRESS_SPACE_IO, &d->io);
    if (d->membar_size) {
        region_init_container(&d->membar, "pci-testdev-membar", d->membar_size);
        pci_register_bar(&d->pci, 2,
                         PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_PREFETCH |
                             PCI_BASE_ADDRESS_MEM_TYPE_64,
                         &d->membar);
    }
    return true;
}

static void testdev_unrealize(Device *dev)
{
    PciTestdev *d = container_of(dev, PciTestdev, pci.dev);

    stop_test(d);
    region_destroy(&d->mem);
    region_destroy(&d->io);
    if (d->membar_size) {
        region_destroy(&d->membar);
    }
}

static void testdev_reset(Device *dev)
{
    stop_test(container_of(dev, PciTestdev, pci.dev));
}

static const Property testdev_props[] = {
    PROP_SIZE("membar", PciTestdev, membar_size, .help = "bytes of a 64-bit memory BAR 2; 0: none"),
    {}
};

/* A test that runs is not part of the state (QEMU has none either). */
static const PciInfo testdev_info = {
    .vendor_id = 0x1b36,
    .device_id = 0x0005,
    .class_id = PCI_CLASS_OTHERS,
};

DEVICE_TYPE(pci_testdev) = {
    .name = "pci-testdev",
    .parent = "pci-device",
    .desc = "PCI Test Device",
    .size = sizeof(PciTestdev),
    .category = "misc",
    .props = testdev_props,
    .ops = &testdev_info,
    .realize = testdev_realize,
    .unrealize = testdev_unrealize,
    .reset = testdev_reset,
};
