/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * "virtio-keyboard-device", "virtio-mouse-device", "virtio-tablet-device": what the router of input sends goes to the guest.
 *
 * The router is in the main loop, the queues are guests in a thread of the disks and cards. What the router says goes there as
 * messages, of which reports are made there: only the ring knows what the guest has room for, and so which buttons it has been
 * told of.
 */
#include "hw/virtio/virtio_input.h"

#include <linux/input-event-codes.h>

#include "backends/iothread.h"
#include "hw/virtio/virtio_pci.h"
#include "util/trace.h"

#define QUEUE_SIZE 64
#define REPORT_MAX 16         /* events of one report */
#define SERIAL_MAX 128
#define EVENT_SIZE 8          /* type, code, value */
#define MESSAGES_MAX 128      /* that wait for the thread; more are dropped, as when the guest has no buffers */
#define TURN_NS (NSEC_PER_MSEC / 4) /* of the status queue, before the thread's others */

typedef struct InputReport {
    uint8_t events[REPORT_MAX][EVENT_SIZE];
    unsigned count;
} InputReport;

/* What the router of input said, on its way to the queues' thread. */
typedef struct InputMessage {
    enum { MESSAGE_KEY, MESSAGE_MOVE, MESSAGE_POINT } kind;
    unsigned code;            /* of a key */
    bool down;
    int x, y, z;              /* a movement, or a place and the wheel's movement */
    unsigned buttons;         /* INPUT_* that are down now */
} InputMessage;

/* VM lock, unless said otherwise. */
typedef struct VirtioInput {
    VirtioDevice vdev;
    const VirtioInputInfo *info;
    VirtQueue *events, *status;
    InputDevice *input;
    bool active;              /* it gets its kinds' events */
    uint8_t select, subsel;
    char *serial;             /* property; NULL: none */
    char *display;            /* property */
    uint32_t head;
    bool wheel_axis;          /* property */
    /* ---- of the queues' thread ---- */
    unsigned buttons;         /* that the guest knows to be down */
    uint8_t lights;           /* bit n: LED_* n */
    /* ---- between the two ---- */
    Lock lock;                /* of these: */
    InputMessage messages[MESSAGES_MAX];
    unsigned n_messages;
    bool posted;              /* the thread was told of them */
} VirtioInput;

static VirtioInput *virtio_input(VirtioDevice *vdev) { return container_of(vdev, VirtioInput, vdev); }

/* ---- reports, in the queues' thread ------------------------------------------------------------- */

static void add(InputReport *r, uint16_t type, uint16_t code, int32_t value)
{
    g_assert(r->count < REPORT_MAX);
    store16_le(r->events[r->count], type);
    store16_le(r->events[r->count] + 2, code);
    store32_le(r->events[r->count++] + 4, (uint32_t)value);
}

/* Adds SYN and delivers; true: it went. */
static bool send_report(VirtioInput *s, InputReport *r)
{
    VirtElement *elems[REPORT_MAX];
    unsigned n = 0;

    add(r, EV_SYN, SYN_REPORT, 0);
    for (; n < r->count; n++) {
        elems[n] = virtqueue_pop(s->events);
        if (!elems[n]) {
            trace(virtio_input_full, "%u events are dropped", r->count);
            while (n-- > 0) {
                virtqueue_unpop(elems[n]);
            }
            return false;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        trace(virtio_input_event, "type %u code %u value %u", load16_le(r->events[i]), load16_le(r->events[i] + 2),
              load32_le(r->events[i] + 4));
        virtqueue_push(elems[i], virt_element_write(elems[i], 0, r->events[i], EVENT_SIZE));
    }
    return true;
}

static void send_key(VirtioInput *s, unsigned code, bool down)
{
    InputReport r = {0};

    add(&r, EV_KEY, (uint16_t)code, down);
    send_report(s, &r);
}

static const struct {
    unsigned bit;
    uint16_t code;
} buttons[] = {{INPUT_LEFT, BTN_LEFT}, {INPUT_RIGHT, BTN_RIGHT}, {INPUT_MIDDLE, BTN_MIDDLE}, {INPUT_SIDE, BTN_SIDE},
               {INPUT_EXTRA, BTN_EXTRA}};

static void add_buttons(const VirtioInput *s, InputReport *r, unsigned now)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++) {
        if ((now ^ s->buttons) & buttons[i].bit) {
            add(r, EV_KEY, buttons[i].code, !!(now & buttons[i].bit));
        }
    }
}

/* Without wheel-axis a step of the wheel is a key pressed and released. */
static void wheel_keys(VirtioInput *s, int dz)
{
    for (int i = 0; i < MIN(ABS(dz), 16); i++) {
        for (int down = 1; down >= 0; down--) {
            send_key(s, dz < 0 ? BTN_GEAR_UP : BTN_GEAR_DOWN, down);
        }
    }
}

static void send_pointer(VirtioInput *s, const InputMessage *m)
{
    const bool place = m->kind == MESSAGE_POINT;
    InputReport r = {0};

    if (place || m->x) {
        add(&r, place ? EV_ABS : EV_REL, place ? ABS_X : REL_X, m->x);
    }
    if (place || m->y) {
        add(&r, place ? EV_ABS : EV_REL, place ? ABS_Y : REL_Y, m->y);
    }
    add_buttons(s, &r, m->buttons);
    if (m->z && s->wheel_axis) {
        add(&r, EV_REL, REL_WHEEL, -m->z);
    }
    if (r.count && send_report(s, &r)) {
        s->buttons = m->buttons; /* else a later report tells of them */
    }
    if (m->z && !s->wheel_axis) {
        wheel_keys(s, m->z);
    }
}

/* ---- from the router to the thread ------------------------------------------------------------------ */

static void take_messages(void *opaque)
{
    VirtioInput *s = opaque;
    InputMessage messages[MESSAGES_MAX];
    unsigned n;

    lock_acquire(&s->lock);
    n = s->n_messages;
    memcpy(messages, s->messages, n * sizeof *messages);
    s->n_messages = 0;
    s->posted = false;
    lock_release(&s->lock);
    for (unsigned i = 0; i < n; i++) {
        if (messages[i].kind == MESSAGE_KEY) {
            send_key(s, messages[i].code, messages[i].down);
        } else {
            send_pointer(s, &messages[i]);
        }
    }
    virtqueue_flush(s->events);
}

/* Nobody listens while the queues stand still. What is sent before they stop gets there: stopping comes behind it. */
static void send(VirtioInput *s, const InputMessage *m)
{
    bool post, full;

    if (!s->vdev.running) {
        return;
    }
    lock_acquire(&s->lock);
    full = s->n_messages == MESSAGES_MAX;
    if (!full) {
        s->messages[s->n_messages++] = *m;
    }
    post = !s->posted;
    s->posted = true;
    lock_release(&s->lock);
    if (full) {
        trace(virtio_input_full, "%u messages wait: one is dropped", MESSAGES_MAX);
    }
    if (post) {
        loop_post(s->vdev.loop, take_messages, s);
    }
}

static void key(void *opaque, unsigned qnum, bool down)
{
    const InputMessage m = {.kind = MESSAGE_KEY, .code = virtio_input_key_code(qnum), .down = down};

    if (m.code) {
        send(opaque, &m);
    }
}

static void move(void *opaque, int dx, int dy, int dz, unsigned now)
{
    send(opaque, &(InputMessage){.kind = MESSAGE_MOVE, .x = dx, .y = dy, .z = dz, .buttons = now});
}

static void point(void *opaque, int x, int y, int dz, unsigned now)
{
    send(opaque, &(InputMessage){.kind = MESSAGE_POINT, .x = x, .y = y, .z = dz, .buttons = now});
}

/* ---- queues --------------------------------------------------------------------------------------- */

/* Buffers for events wait there until something happens: nobody needs to be told of them. */
static void handle_events(VirtioDevice *vdev, VirtQueue *vq) { virtqueue_pause(vq); }

static void handle_status(VirtioDevice *vdev, VirtQueue *vq)
{
    VirtioInput *s = virtio_input(vdev);
    const int64_t end = clock_monotonic_ns() + TURN_NS;
    VirtElement *e;

    while ((e = virtqueue_pop(vq))) {
        uint8_t event[EVENT_SIZE] = {0};
        unsigned code;

        virt_element_read(e, 0, event, sizeof event);
        code = load16_le(event + 2);
        trace(virtio_input_status, "type %u code %u value %u", load16_le(event), code, load32_le(event + 4));
        if (load16_le(event) == EV_LED && code <= LED_SCROLLL) {
            s->lights = (uint8_t)((s->lights & ~(1u << code)) | (load32_le(event + 4) ? 1u << code : 0));
        }
        virtqueue_push(e, 0);
        if (clock_monotonic_ns() >= end) {
            return; /* the ring is looked at again, a few times */
        }
    }
}

/* ---- configuration ------------------------------------------------------------------------------------ */

static void get_config(VirtioDevice *vdev)
{
    const VirtioInput *s = virtio_input(vdev);
    const size_t at = offsetof(struct virtio_input_config, u);

    memset(vdev->config, 0, vdev->config_size);
    vdev->config[0] = s->select;
    vdev->config[1] = s->subsel;
    for (const VirtioInputConfig *c = s->info->config; c->size; c++) {
        if (c->select == s->select && c->subsel == s->subsel) {
            vdev->config[2] = c->size;
            memcpy(vdev->config + at, c->data, c->size);
        }
    }
    if (s->serial && s->select == VIRTIO_INPUT_CFG_ID_SERIAL && !s->subsel) {
        vdev->config[2] = (uint8_t)strlen(s->serial);
        memcpy(vdev->config + at, s->serial, strlen(s->serial));
    }
}

static void set_config(VirtioDevice *vdev, const uint8_t *config)
{
    VirtioInput *s = virtio_input(vdev);

    s->select = config[0];
    s->subsel = config[1];
    virtio_notify_config(vdev);
}

/* What was selected stands in the configuration. */
static void take_loaded(VirtioDevice *vdev)
{
    virtio_input(vdev)->select = vdev->config[0];
    virtio_input(vdev)->subsel = vdev->config[1];
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void set_active(VirtioInput *s, bool active)
{
    if (s->active != active) {
        s->active = active;
        input_activate(s->input, active);
    }
}

static void started(VirtioDevice *vdev) { set_active(virtio_input(vdev), true); }

static void input_reset(VirtioDevice *vdev)
{
    VirtioInput *s = virtio_input(vdev);

    s->buttons = 0;
    if (s->input) {
        set_active(s, false);
    }
}

static size_t config_size(const VirtioInput *s)
{
    size_t largest = s->serial ? strlen(s->serial) : 0;

    for (const VirtioInputConfig *c = s->info->config; c->size; c++) {
        largest = MAX(largest, c->size);
    }
    return offsetof(struct virtio_input_config, u) + largest;
}

static bool input_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = virtio_device(dev);
    VirtioInput *s = virtio_input(vdev);
    Loop *loop;

    if (s->serial && strlen(s->serial) > SERIAL_MAX) {
        return error_set(err, "serial= has more than %u characters", SERIAL_MAX);
    }
    if (s->display) {
        return error_set(err, "display=%s: input that belongs to one screen is not supported; leave it out", s->display);
    }
    loop = iothread_own_guest_loop(dev->vm, err);
    if (!loop) {
        return false;
    }
    s->info = type_ops(dev->obj.type);
    lock_init(&s->lock, "virtio-input's messages", LOCK_RANK_LEAF);
    virtio_init(vdev, config_size(s));
    vdev->loop = loop;
    s->events = virtio_add_queue(vdev, QUEUE_SIZE, handle_events, sizeof(VirtElement));
    virtio_queue_set_quiet(s->events);
    s->status = virtio_add_queue(vdev, QUEUE_SIZE, handle_status, sizeof(VirtElement));
    virtio_queue_set_quiet(s->status);
    s->input = input_add(dev->vm, s->info->input, s);
    return true;
}

static void input_unrealize(Device *dev)
{
    VirtioInput *s = virtio_input(virtio_device(dev));

    virtio_cleanup(&s->vdev);
    input_remove(g_steal_pointer(&s->input));
    lock_destroy(&s->lock);
}

/* ---- the kinds ------------------------------------------------------------------------------------------ */

#define NAME(text) {.select = VIRTIO_INPUT_CFG_ID_NAME, .size = sizeof(text), .data = text}
/* Bus 6: virtual. */
#define IDS(product, version)                                                                      \
    {.select = VIRTIO_INPUT_CFG_ID_DEVIDS, .size = 8, .data = {6, 0, 0x27, 0x06, (product), 0, (version), 0}}
#define BITS(type, n, ...) {.select = VIRTIO_INPUT_CFG_EV_BITS, .subsel = (type), .size = (n), .data = {__VA_ARGS__}}
#define AXIS(axis) {.select = VIRTIO_INPUT_CFG_ABS_INFO, .subsel = (axis), .size = 20, .data = {[4] = 0xff, [5] = 0x7f}}
/* Left, right, middle, side, extra; the wheel as two keys. */
#define BUTTONS BITS(EV_KEY, 43, [34] = 0x1f, [42] = 3)

/* The keys are QEMU's: some of them no PC has. */
static const VirtioInputConfig keyboard_config[] = {
    NAME("QEMU Virtio Keyboard"),
    IDS(1, 1),
    BITS(EV_REP, 1, 0),
    BITS(EV_LED, 1, 1 << LED_NUML | 1 << LED_CAPSL | 1 << LED_SCROLLL),
    BITS(EV_KEY, 29, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xcf, 0x7b, 0xff, 0xff, 0xbe, 0xfe, 0xff, 0xdf,
         0x00, 0xf8, 0x78, 0x30, [28] = 0x04),
    {}};

static const VirtioInputConfig mouse_config[] = {NAME("QEMU Virtio Mouse"), IDS(2, 2), BUTTONS, BITS(EV_REL, 2, 3, 1), {}};
static const VirtioInputConfig tablet_config[] = {NAME("QEMU Virtio Tablet"), IDS(3, 2),     BUTTONS, BITS(EV_REL, 2, 0, 1),
                                                  BITS(EV_ABS, 1, 3),         AXIS(ABS_X), AXIS(ABS_Y), {}};

static const InputOps keyboard_input = {.name = "QEMU Virtio Keyboard", .kinds = INPUT_KEYS, .key = key};
static const InputOps mouse_input = {.name = "QEMU Virtio Mouse", .kinds = INPUT_RELATIVE, .move = move};
static const InputOps tablet_input = {.name = "QEMU Virtio Tablet", .kinds = INPUT_ABSOLUTE, .point = point};

#define INFO(kind)                                                                                 \
    static const VirtioInputInfo kind##_info = {.virtio = {.device_id = VIRTIO_ID_INPUT,           \
                                                           .get_config = get_config,               \
                                                           .set_config = set_config,               \
                                                           .started = started,                     \
                                                           .reset = input_reset,                   \
                                                           .take_loaded = take_loaded},                  \
                                                .config = kind##_config,                           \
                                                .input = &kind##_input}
INFO(keyboard);
INFO(mouse);
INFO(tablet);

static const Property input_props[] = {
    PROP_STRING("serial", VirtioInput, serial, .help = "serial number that the guest can read"),
    PROP_STRING("display", VirtioInput, display, .help = "not supported: input from one screen only"),
    PROP_U32("head", VirtioInput, head, .help = "accepted, no effect"),
    {}};

static const Property pointer_props[] = {
    PROP_BOOL("wheel-axis", VirtioInput, wheel_axis, .def = 1, .help = "the wheel is an axis; off: two keys"),
    {}};

static const StateField input_fields[] = {STATE_VIRTIO(VirtioInput, vdev), {}};
static const StateDesc input_state = {
    .name = "virtio-input", .version = 1, .min_version = 1, .fields = input_fields, .post_load = virtio_post_load};

DEVICE_TYPE(virtio_input_device) = {
    .name = "virtio-input-device",
    .parent = "virtio-device",
    .abstract = true,
    .size = sizeof(VirtioInput),
    .category = "input",
    .props = input_props,
    .state = &input_state,
    .realize = input_realize,
    .unrealize = input_unrealize,
};

DEVICE_TYPE(virtio_keyboard_device) = {
    .name = "virtio-keyboard-device",
    .parent = "virtio-input-device",
    .ops = &keyboard_info,
};

DEVICE_TYPE(virtio_mouse_device) = {
    .name = "virtio-mouse-device",
    .parent = "virtio-input-device",
    .props = pointer_props,
    .ops = &mouse_info,
};

DEVICE_TYPE(virtio_tablet_device) = {
    .name = "virtio-tablet-device",
    .parent = "virtio-input-device",
    .props = pointer_props,
    .ops = &tablet_info,
};

/* ---- on PCI: modern drivers only ------------------------------------------------------------------------ */

VIRTIO_PCI_TYPE_(virtio_keyboard_pci, , "virtio-pci-generic", VIRTIO_PCI_GENERIC, "virtio-keyboard", 0, VIRTIO_ID_INPUT, 0x0900,
                 "Virtio keyboard", "input", NULL, NULL, NULL, "", NULL)
VIRTIO_PCI_TYPE_(virtio_mouse_pci, , "virtio-pci-generic", VIRTIO_PCI_GENERIC, "virtio-mouse", 0, VIRTIO_ID_INPUT, 0x0902,
                 "Virtio mouse", "input", NULL, NULL, NULL, "", NULL)
VIRTIO_PCI_TYPE_(virtio_tablet_pci, , "virtio-pci-generic", VIRTIO_PCI_GENERIC, "virtio-tablet", 0, VIRTIO_ID_INPUT, 0x0980,
                 "Virtio tablet", "input", NULL, NULL, NULL, "", NULL)
