/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "virtio-serial-device": control messages, and the bus that ports are plugged into. */
#include "hw/virtio/virtio_serial.h"

#include "backends/iothread.h"
#include "hw/virtio/virtio_pci.h"
#include "util/trace.h"

#define PORT_QUEUE_SIZE 128
#define CONTROL_QUEUE_SIZE 32
#define BRIEF_BYTES 4096
#define LENT_MAX 64 /* of a queue's buffers, to the main loop */
#define EMERGENCY_CONFIG_SIZE offsetof(struct virtio_console_config, emerg_wr)

/* ---- messages to the guest ---------------------------------------------------------------------- */

/* False: it has no buffer for it now. */
static bool send_message(VirtioSerial *s, uint32_t id, uint16_t event, uint16_t value, const char *name)
{
    VirtElement *e = virtqueue_pop(s->control_in);
    struct virtio_console_control message = {GUINT32_TO_LE(id), GUINT16_TO_LE(event), GUINT16_TO_LE(value)};
    size_t len;

    if (!e) {
        return false;
    }
    trace(virtio_serial_tell, "port %u event %u value %u", id, event, value);
    len = virt_element_write(e, 0, &message, sizeof message);
    if (name) {
        len += virt_element_write(e, len, name, strlen(name) + 1);
    }
    virtqueue_push(e, len);
    return true;
}

static bool tell_port(VirtioSerial *s, SerialPort *port)
{
    static const struct {
        unsigned bit;
        uint16_t event;
    } messages[] = {{UNTOLD_ADD, VIRTIO_CONSOLE_PORT_ADD},
                    {UNTOLD_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT},
                    {UNTOLD_NAME, VIRTIO_CONSOLE_PORT_NAME},
                    {UNTOLD_OPEN, VIRTIO_CONSOLE_PORT_OPEN}};

    for (unsigned i = 0; i < G_N_ELEMENTS(messages); i++) {
        const bool open = messages[i].bit == UNTOLD_OPEN;

        if (port->untold & messages[i].bit) {
            if (!send_message(s, port->id, messages[i].event, open ? port->host_open : 1,
                              messages[i].bit == UNTOLD_NAME ? port->name : NULL)) {
                return false;
            }
            port->untold &= ~messages[i].bit;
        }
    }
    return true;
}

static bool tell_all(VirtioSerial *s)
{
    for (uint32_t id = 0; id < s->max_ports; id++) {
        if (s->removed[id]) {
            if (!send_message(s, id, VIRTIO_CONSOLE_PORT_REMOVE, 1, NULL)) {
                return false;
            }
            s->removed[id] = false;
        }
    }
    for (unsigned i = 0; i < s->ports->len; i++) {
        if (!tell_port(s, g_ptr_array_index(s->ports, i))) {
            return false;
        }
    }
    return true;
}

/* A driver that is not ready yet asks for all when it is. */
static bool has_listener(const VirtioSerial *s)
{
    return (s->vdev.status & VIRTIO_CONFIG_S_DRIVER_OK) && virtio_serial_multiport(s);
}

/* The control queue's handler sees to the rest when the guest has given buffers. */
static void tell(VirtioSerial *s)
{
    if (s->vdev.running && virtio_serial_multiport(s)) {
        tell_all(s);
    }
}

void virtio_serial_tell(VirtioSerial *s, SerialPort *port, unsigned what)
{
    if (has_listener(s)) {
        port->untold |= what;
        tell(s);
    }
}

static void handle_control_in(VirtioDevice *vdev, VirtQueue *vq)
{
    if (virtio_serial_multiport(virtio_serial(vdev))) {
        tell_all(virtio_serial(vdev));
    }
}

/* ---- messages of the guest ------------------------------------------------------------------------- */

static void device_ready(VirtioSerial *s, bool ok)
{
    if (!ok) {
        guest_error(&s->vdev.dev, "the driver could not start the device");
        return;
    }
    for (unsigned i = 0; i < s->ports->len; i++) {
        ((SerialPort *)g_ptr_array_index(s->ports, i))->untold |= UNTOLD_ADD;
    }
    tell(s);
}

static void port_ready(VirtioSerial *s, SerialPort *port, bool ok)
{
    if (!ok) {
        guest_error(&s->vdev.dev, "the driver could not add port %u", port->id);
        return;
    }
    virtio_serial_tell(s, port, (port->is_console ? UNTOLD_CONSOLE : 0) | (port->name ? UNTOLD_NAME : 0) |
                                    (port->host_open ? UNTOLD_OPEN : 0));
}

static void take_message(VirtioSerial *s, uint32_t id, uint16_t event, uint16_t value)
{
    SerialPort *port = id < s->max_ports ? s->by_id[id] : NULL;

    trace(virtio_serial_told, "port %u event %u value %u", id, event, value);
    if (event == VIRTIO_CONSOLE_DEVICE_READY) {
        device_ready(s, value);
    } else if (!port) {
        guest_error(&s->vdev.dev, "message %u names port %u, which is not there", event, id);
    } else if (event == VIRTIO_CONSOLE_PORT_READY) {
        port_ready(s, port, value);
    } else if (event == VIRTIO_CONSOLE_PORT_OPEN) {
        serial_port_set_guest_open(port, value);
    } else {
        guest_error(&s->vdev.dev, "an unknown message %u of port %u", event, id);
    }
}

static void handle_control_out(VirtioDevice *vdev, VirtQueue *vq)
{
    for (unsigned i = 0; i < CONTROL_QUEUE_SIZE; i++) {
        VirtElement *e = virtqueue_pop(vq);
        struct virtio_console_control message;

        if (!e) {
            return;
        }
        if (virt_element_read(e, 0, &message, sizeof message) == sizeof message) {
            take_message(virtio_serial(vdev), GUINT32_FROM_LE(message.id), GUINT16_FROM_LE(message.event),
                         GUINT16_FROM_LE(message.value));
        } else {
            guest_error(&vdev->dev, "a control message of %" PRIu64 " bytes", e->out_size);
        }
        virtqueue_push(e, 0);
    }
    virtqueue_again(vq); /* the main loop's others first */
}

/* ---- ports' queues ------------------------------------------------------------------------------------ */

static void handle_to_guest(VirtioDevice *vdev, VirtQueue *vq)
{
    SerialPort *port = virtio_serial_port_of(vdev, vq);

    if (port) {
        serial_port_to_guest(port);
    }
}

/* In the queue's thread: buffers stay in the ring as long as there is no port. */
static void handle_no_port(VirtioDevice *vdev, VirtQueue *vq) { virtqueue_pause(vq); }

static void handle_from_guest(VirtioDevice *vdev, VirtQueue *vq)
{
    SerialPort *port = virtio_serial_port_of(vdev, vq);
    VirtElement *e;

    if (port) {
        serial_port_from_guest(port);
        return;
    }
    for (unsigned i = 0; (e = virtqueue_pop(vq)); i++) {
        virtqueue_push(e, 0);
        if (i == PORT_QUEUE_SIZE) {
            virtqueue_again(vq);
            return;
        }
    }
}

/* ---- configuration -------------------------------------------------------------------------------------- */

static void get_config(VirtioDevice *vdev)
{
    store32_le(vdev->config + offsetof(struct virtio_console_config, max_nr_ports), virtio_serial(vdev)->max_ports);
}

static SerialPort *first_console(const VirtioSerial *s)
{
    for (unsigned i = 0; i < s->ports->len; i++) {
        SerialPort *port = g_ptr_array_index(s->ports, i);

        if (port->is_console && port->host_open) {
            return port;
        }
    }
    return NULL;
}

/* A word that is not 0 is a character to be shown. */
static void set_config(VirtioDevice *vdev, const uint8_t *config)
{
    SerialPort *port = first_console(virtio_serial(vdev));
    uint32_t value = vdev->config_size > EMERGENCY_CONFIG_SIZE ? load32_le(config + EMERGENCY_CONFIG_SIZE) : 0;

    if (value && port) {
        serial_port_emergency_write(port, (uint8_t)value);
    }
}

/* ---- running ---------------------------------------------------------------------------------------------- */

typedef void PortFn(SerialPort *port);

static void each_port(VirtioDevice *vdev, PortFn *fn)
{
    const VirtioSerial *s = virtio_serial(vdev);

    for (unsigned i = 0; i < s->ports->len; i++) {
        fn(g_ptr_array_index(s->ports, i));
    }
}

/* Drivers without MULTIPORT open nothing: the console is theirs from the start. */
static void started(VirtioDevice *vdev)
{
    VirtioSerial *s = virtio_serial(vdev);

    if (!virtio_serial_multiport(s) && s->by_id[0]) {
        s->by_id[0]->guest_open = true;
    }
    tell(s);
    each_port(vdev, serial_port_from_guest);
    each_port(vdev, serial_port_to_guest);
}

static void quiesce(VirtioDevice *vdev, VirtQueue *vq)
{
    const VirtioSerial *s = virtio_serial(vdev);

    for (unsigned i = 0; i < s->ports->len; i++) {
        SerialPort *port = g_ptr_array_index(s->ports, i);

        if (!vq || vq == port->to_guest) {
            serial_port_stop_reading(port);
            serial_port_quiesce(port);
        }
        if (!vq || vq == port->from_guest) {
            serial_port_go_back(port);
        }
    }
}

static void reset_port(SerialPort *port)
{
    serial_port_drop(port);
    port->untold = 0;
    if (port->guest_open) {
        serial_port_set_guest_open(port, false);
    }
}

static void serial_reset(VirtioDevice *vdev)
{
    VirtioSerial *s = virtio_serial(vdev);

    each_port(vdev, reset_port);
    memset(s->removed, 0, s->max_ports);
}

static void queue_reset(VirtioDevice *vdev, VirtQueue *vq)
{
    SerialPort *port = virtio_serial_port_of(vdev, vq);

    if (port && vq == port->from_guest) {
        serial_port_drop(port);
    }
}

/* ---- plugging ------------------------------------------------------------------------------------------------ */

static bool choose_id(VirtioSerial *s, SerialPort *port, GError **err)
{
    if (port->id != VIRTIO_SERIAL_NO_ID) {
        return true;
    }
    if (port->is_console && !s->by_id[0]) {
        port->id = 0; /* where drivers without MULTIPORT look */
        return true;
    }
    for (uint32_t id = 1; id < s->max_ports; id++) {
        if (!s->by_id[id]) {
            port->id = id;
            return true;
        }
    }
    return error_set(err, "virtio-serial-bus: Maximum port limit for this device reached (max_ports=%u); port 0 is for consoles",
                     s->max_ports);
}

static bool check_name(const SerialPort *port, GError **err)
{
    const Vm *vm = port->dev.vm;

    for (unsigned i = 0; port->name && i < vm->devices->len; i++) {
        const Device *dev = g_ptr_array_index(vm->devices, i);
        const SerialPort *other = object_is_a(dev, "virtio-serial-port") ? (const SerialPort *)(const void *)dev : NULL;

        if (other && other->name && !strcmp(other->name, port->name)) {
            return error_set(err, "virtio-serial-bus: A port already exists by name %s", port->name);
        }
    }
    return true;
}

bool virtio_serial_plug(VirtioSerial *s, SerialPort *port, GError **err)
{
    if (port->id < s->max_ports && s->by_id[port->id]) {
        return error_set(err, "virtio-serial-bus: A port already exists at id %u", port->id);
    }
    if (!check_name(port, err) || !choose_id(s, port, err)) {
        return false;
    }
    if (port->id >= s->max_ports) {
        return error_set(err, "virtio-serial-bus: Out-of-range port id specified, max. allowed: %u", s->max_ports - 1);
    }
    if (!port->id && !port->is_console) {
        return error_set(err, "Port number 0 on virtio-serial devices reserved for virtconsole devices for backward "
                              "compatibility.");
    }
    port->serial = s;
    port->to_guest = virtio_queue(&s->vdev, port->id ? 2 * port->id + 2 : 0);
    port->from_guest = virtio_queue(&s->vdev, port->id ? 2 * port->id + 3 : 1);
    g_ptr_array_add(s->ports, port);
    s->by_id[port->id] = port;
    virtio_queue_keep(port->to_guest, NULL);
    if (s->vdev.running && !virtio_serial_multiport(s)) {
        port->guest_open = !port->id;
    }
    virtio_serial_tell(s, port, UNTOLD_ADD);
    virtio_notify_config(&s->vdev);
    return true;
}

void virtio_serial_unplug(SerialPort *port)
{
    VirtioSerial *s = port->serial;

    g_ptr_array_remove(s->ports, port);
    s->by_id[port->id] = NULL;
    virtio_queue_keep(port->to_guest, handle_no_port); /* before the driver hears of it, who may then take its buffers back */
    if (has_listener(s) && !(port->untold & UNTOLD_ADD)) {
        s->removed[port->id] = true;
        tell(s);
    }
    port->serial = NULL;
}

static bool request_unplug(void *opaque, Device *dev, GError **err)
{
    device_unrealize(dev);
    return true;
}

static void plugged(void *opaque, Device *dev) {}
static const HotplugOps hotplug_ops = {.plugged = plugged, .request_unplug = request_unplug};

/* QEMU's name for it: after the user's id, else with the next free number. */
static char *bus_name(Device *dev)
{
    const Device *front = dev->bus->owner;

    if (front && front->id) {
        return g_strdup_printf("%s.0", front->id);
    }
    for (unsigned i = 0;; i++) {
        g_autofree char *name = g_strdup_printf("virtio-serial-bus.%u", i);

        if (!bus_find(dev->vm, name)) {
            return g_steal_pointer(&name);
        }
    }
}

/* ---- life ------------------------------------------------------------------------------------------------------ */

/* Opening and closing (control messages) and floods are for the main loop: disks wait for the thread. */
static bool data_is_brief(VirtioDevice *vdev, VirtQueue *vq, uint64_t bytes)
{
    const SerialPort *port = virtio_serial_port_of(vdev, vq);

    return bytes <= BRIEF_BYTES && (!port || charport_is_prompt(port->chr));
}

/* Room for the guest's input: the character device is told that it may read. */
static bool room_is_brief(VirtioDevice *vdev, VirtQueue *vq, uint64_t bytes) { return true; }

static VirtQueue *add_lent_queue(VirtioDevice *vdev, unsigned size, VirtQueueFn *handler)
{
    VirtQueue *vq = virtio_add_queue(vdev, size, handler, sizeof(VirtElement));

    virtio_queue_lend(vq, LENT_MAX);
    return vq;
}

static void add_port_queues(VirtioDevice *vdev)
{
    VirtQueue *to_guest = add_lent_queue(vdev, PORT_QUEUE_SIZE, handle_to_guest);

    virtio_queue_keep(to_guest, handle_no_port);
    virtio_queue_set_brief(to_guest, room_is_brief);
    virtio_queue_set_brief(add_lent_queue(vdev, PORT_QUEUE_SIZE, handle_from_guest), data_is_brief);
}

static bool serial_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioSerial *s = virtio_serial(vdev);
    const bool emergency = (vdev->host_features >> VIRTIO_CONSOLE_F_EMERG_WRITE) & 1;
    g_autofree char *name = bus_name(dev);
    Loop *loop;

    if (s->max_ports > VIRTIO_SERIAL_PORTS_MAX || !s->max_ports) {
        return error_set(err, "max_ports=%u: maximum ports supported: %u", s->max_ports, VIRTIO_SERIAL_PORTS_MAX);
    }
    loop = iothread_own_guest_loop(dev->vm, err);
    if (!loop) {
        return false;
    }
    if (s->max_ports > 1) {
        vdev->host_features |= 1u << VIRTIO_CONSOLE_F_MULTIPORT;
    }
    s->ports = g_ptr_array_new();
    s->by_id = g_new0(SerialPort *, s->max_ports);
    s->removed = g_new0(uint8_t, s->max_ports);
    virtio_init(vdev, emergency ? sizeof(struct virtio_console_config) : EMERGENCY_CONFIG_SIZE);
    vdev->loop = loop;
    add_port_queues(vdev);
    s->control_in = add_lent_queue(vdev, CONTROL_QUEUE_SIZE, handle_control_in);
    s->control_out = add_lent_queue(vdev, CONTROL_QUEUE_SIZE, handle_control_out);
    for (unsigned i = 1; i < s->max_ports; i++) {
        add_port_queues(vdev);
    }
    s->bus = bus_new(dev->vm, "virtio-serial-bus", dev, name);
    s->bus->hotplug = &hotplug_ops;
    return true;
}

/* The ports have gone before. */
static void serial_unrealize(Device *dev)
{
    VirtioSerial *s = virtio_serial(virtio_device(dev));

    virtio_cleanup(&s->vdev);
    g_clear_pointer(&s->ports, g_ptr_array_unref);
    g_clear_pointer(&s->by_id, g_free);
    g_clear_pointer(&s->removed, g_free);
}

static void serial_finalize(Object *obj) { virtio_serial_free_loaded(virtio_serial(virtio_device((Device *)(void *)obj))); }

static const Property serial_props[] = {
    PROP_U32("max_ports", VirtioSerial, max_ports, .def = 31, .help = "ports, 1 to 511; port 0 is for consoles"),
    PROP_BIT64("emergency-write", VirtioSerial, vdev.host_features, .bit = VIRTIO_CONSOLE_F_EMERG_WRITE, .def = 1,
               .help = "the guest may write single characters without a queue"),
    {}};

static const StateField serial_fields[] = {STATE_VIRTIO(VirtioSerial, vdev), {}};
static const StateDesc serial_state = {
    .name = "virtio-console", .version = 3, .min_version = 3, .fields = serial_fields, .post_load = virtio_post_load};

static const VirtioOps serial_ops = {
    .device_id = VIRTIO_ID_CONSOLE,
    .get_config = get_config,
    .set_config = set_config,
    .started = started,
    .quiesce = quiesce,
    .reset = serial_reset,
    .queue_reset = queue_reset,
    .save = virtio_serial_save,
    .load = virtio_serial_load,
    .take_loaded = virtio_serial_take_loaded,
};

KILN_TYPE(virtio_serial_bus) = {
    .name = "virtio-serial-bus",
    .parent = "bus",
    .size = sizeof(Bus),
};

DEVICE_TYPE(virtio_serial_device) = {
    .name = "virtio-serial-device",
    .parent = "virtio-device",
    .size = sizeof(VirtioSerial),
    .category = "input",
    .props = serial_props,
    .state = &serial_state,
    .ops = &serial_ops,
    .realize = serial_realize,
    .unrealize = serial_unrealize,
    .finalize = serial_finalize,
};

/* ---- on PCI ------------------------------------------------------------------------------------------------------- */

/* Classes of old QEMUs are taken, others are not. */
static bool choose_class(VirtioPci *pci, GError **err)
{
    enum { DISPLAY_OTHER = 0x0380, COMMUNICATION_OTHER = 0x0780 };

    if (pci->class_code != DISPLAY_OTHER && pci->class_code != PCI_CLASS_OTHERS) {
        pci->class_code = COMMUNICATION_OTHER;
    }
    return true;
}

VIRTIO_PCI_TYPES(virtio_serial_pci, "virtio-serial", 0x1003, VIRTIO_ID_CONSOLE, 0x0780, "Virtio serial ports and consoles", "input",
                 virtio_pci_class_props, NULL, choose_class)
