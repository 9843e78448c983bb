/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: bursts of output, slow peers and peers that die.
 *
 * Write calls are counted with a SOCK_SEQPACKET pair: each one arrives as a packet of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chardev/backend.h"
#include "tests/unit/chardev-fixture.h"

/* ---- bursts and slow peers --------------------------------------------------------- */

static void test_burst_is_one_write(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_SEQPACKET, "", &peer);
    GString *all = g_string_new(NULL);
    User user;

    user_start(&user, vm, "c");
    for (unsigned i = 0; i < 1000; i++) {
        charport_write(user.port, "x", 1);
        g_string_append_c(all, 'x');
    }
    settle(vm);
    expect_read(peer, all->str);
    expect_read(peer, "");
    charport_write_all(user.port, "reply ", 6);
    charport_write_all(user.port, "text", 4);
    settle(vm);
    expect_read(peer, "reply text");
    expect_read(peer, "");
    g_string_free(all, TRUE);
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_slow_peer(void)
{
    static const uint8_t block[1024];
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    size_t sent = 0, got = 0;
    uint8_t buf[65536];
    ssize_t n;
    User user;

    user_start(&user, vm, "c");
    for (;;) {
        size_t taken = charport_write(user.port, block, sizeof block);

        sent += taken;
        g_assert_cmpuint(sent, <, 64 * MIB);
        settle(vm);
        if (taken < sizeof block) {
            break;
        }
    }
    charport_on_writable(user.port, user_writable, &user);
    settle(vm);
    g_assert_cmpuint(user.writable, ==, 0);
    while (got < sent) {
        n = read(peer, buf, sizeof buf);
        got += n > 0 ? (size_t)n : 0;
        settle(vm);
    }
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmpuint(user.writable, ==, 1);
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_peer_that_never_reads(void)
{
    g_autofree uint8_t *block = g_malloc0(MIB);
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    User user;

    user_start(&user, vm, "c");
    for (unsigned i = 0; i < 40 && !user.closed; i++) {
        charport_write_all(user.port, block, MIB);
        settle(vm);
    }
    g_assert_cmpuint(user.closed, ==, 1);
    g_assert_false(charport_is_connected(user.port));
    charport_write_all(user.port, block, MIB); /* goes nowhere */
    user_end(&user);
    end(vm);
    close(peer);
}

static void test_peer_dies(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    User user;

    user_start(&user, vm, "c");
    g_assert_cmpuint(user.opened, ==, 1);
    out_text(&user, "x");
    close(peer);
    settle(vm);
    g_assert_cmpuint(user.closed, ==, 1);
    out_text(&user, "y");
    settle(vm);
    user_end(&user);
    end(vm);
}

/* What a peer sent before it died is still read, at the user's pace, without the loop spinning. */
static void test_peer_dies_while_paused(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    User user;

    user_start(&user, vm, "c");
    user.room = 0;
    charport_accept_input(user.port);
    put_text(peer, "last words");
    close(peer);
    settle(vm);
    settle(vm);
    g_assert_false(loop_run_once(vm->loop, 0));
    g_assert_cmpuint(user.closed, ==, 0);
    user.room = 4;
    charport_accept_input(user.port);
    settle(vm);
    expect_got(&user, "last words");
    g_assert_cmpuint(user.closed, ==, 1);
    user_end(&user);
    end(vm);
}

/* Bytes written by another thread that holds the lock for each, as a vCPU does. */
static void *writer_thread(void *opaque)
{
    User *user = opaque;

    for (unsigned sent = 0; sent < 20000;) {
        vm_lock(user->vm);
        sent += (unsigned)charport_write(user->port, "x", 1);
        vm_unlock(user->vm);
    }
    return NULL;
}

static void test_writes_of_a_vcpu(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    pthread_t thread;
    size_t got = 0;
    User user;

    user_start(&user, vm, "c");
    user.vm = vm;
    g_assert_cmpint(pthread_create(&thread, NULL, writer_thread, &user), ==, 0);
    while (got < 20000) {
        char buf[4096];
        ssize_t n;

        loop_run_once(vm->loop, 100 * NSEC_PER_MSEC);
        n = read(peer, buf, sizeof buf);
        got += n > 0 ? (size_t)n : 0;
    }
    vm_unlock(vm);
    pthread_join(thread, NULL);
    vm_lock(vm);
    user_end(&user);
    end(vm);
    close(peer);
}

/* ---- the end of a burst ------------------------------------------------------------- */

#define MS NSEC_PER_MSEC

static CharBurst burst_of_line(int speed)
{
    CharBurst burst = {0};

    char_burst_set_line(&burst, &(CharLine){.speed = speed, .parity = 'N', .data_bits = 8, .stop_bits = 1});
    return burst;
}

static void test_lone_byte(void)
{
    static const struct {
        int speed;
        int64_t wait;
    } lines[] = {{115200, 5 * 86800}, {19200, MS}, {9600, MS}, {50, MS}};
    CharBurst burst = {0};

    g_assert_cmpint(char_burst_begin(&burst, 7, 1), ==, 7 + MS); /* no line at all */
    g_assert_cmpint(char_burst_look(&burst, 7 + MS, 1), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        burst = burst_of_line(lines[i].speed);
        g_assert_cmpint(char_burst_begin(&burst, 100, 1), ==, 100 + lines[i].wait);
        g_assert_cmpint(char_burst_look(&burst, 100 + lines[i].wait, 1), ==, 0);
    }
    char_burst_set_line(&burst, &(CharLine){.speed = 1200, .parity = 'E', .data_bits = 8, .stop_bits = 2});
    g_assert_cmpint(burst.char_time, ==, NSEC_PER_SEC / 1200 * 12);
}

/* Bytes come every gap ns until there are count: how many writes, and how long the first of each waited at most. */
static unsigned simulate(CharBurst burst, unsigned count, int64_t gap, int64_t *longest)
{
    unsigned waiting = 0, writes = 0;
    int64_t begin = 0, look = 0;

    *longest = 0;
    for (unsigned sent = 0; sent < count || waiting;) {
        int64_t next_byte = sent < count ? sent * gap : INT64_MAX;

        if (waiting && look <= next_byte) {
            int64_t now = look;

            look = char_burst_look(&burst, now, waiting);
            if (!look) {
                *longest = MAX(*longest, now - begin);
                writes++;
                waiting = 0;
            }
            continue;
        }
        sent++;
        if (++waiting == 1) {
            begin = next_byte;
            look = char_burst_begin(&burst, begin, 1);
        } else if (waiting == CHAR_QUEUE_SIZE / 2) { /* as char.c does */
            char_burst_end(&burst);
            look = next_byte;
        }
    }
    return writes;
}

static void test_bursts_that_are_polled_out(void)
{
    const CharBurst fast = burst_of_line(115200), slow = burst_of_line(9600);
    int64_t longest;

    /* A line of text, and 5000 bytes at 5 us a byte, are one write each. */
    g_assert_cmpuint(simulate(fast, 80, 5000, &longest), ==, 1);
    g_assert_cmpint(longest, <, 2 * MS);
    /* So are they where an exit costs 40 us: the line would still be slower. */
    g_assert_cmpuint(simulate(fast, 80, 80000, &longest), ==, 1);
    g_assert_cmpuint(simulate(fast, 2500, 80000, &longest), ==, 1);
    g_assert_cmpuint(simulate(fast, 5000, 5000, &longest), ==, 1);
    g_assert_cmpuint(simulate(slow, 5000, 5000, &longest), ==, 1);
    /* What does not fit into half a queue is as many writes as halves. */
    g_assert_cmpuint(simulate(fast, 5 * CHAR_QUEUE_SIZE, 1000, &longest), ==, 10);
    /* A guest that never stops is shown four times a second, and twenty times when it is slower than the line. */
    g_assert_cmpuint(simulate(fast, 12500, 80000, &longest), ==, 4);
    g_assert_cmpint(longest, >=, 250 * MS);
    g_assert_cmpint(longest, <=, 254 * MS);
    g_assert_cmpuint(simulate(fast, 10000, 100000, &longest), <=, 1000 / 50);
    g_assert_cmpint(longest, >=, 50 * MS);
    g_assert_cmpint(longest, <=, 54 * MS);
    /* Keys that somebody presses one after the other: each leaves for itself. */
    g_assert_cmpuint(simulate(fast, 100, MS, &longest), ==, 100);
    g_assert_cmpint(longest, ==, 5 * 86800);
}

static void test_urgent_output_ends_a_burst(void)
{
    CharBurst burst = burst_of_line(115200);

    char_burst_begin(&burst, 0, 1);
    char_burst_end(&burst);
    g_assert_cmpint(char_burst_look(&burst, 1, 2), ==, 0);
    g_assert_cmpint(char_burst_begin(&burst, 5, 1), ==, 5 + 5 * 86800);
}

/* Whoever looks at a VM that has stopped, or takes it elsewhere, has all that it said: no turn of the loop is needed. */
static void test_stop_writes_what_waits(void)
{
    g_autofree char *log = in_dir("stop.log"), *extra = g_strdup_printf(",logfile=%s", log), *text = NULL;
    int peer;
    Vm *vm = start_pair(SOCK_SEQPACKET, extra, &peer);
    GError *err = NULL;
    User user;

    user_start(&user, vm, "c");
    vm_start(vm, &err);
    g_assert_no_error(err);
    out_text(&user, "last ");
    out_text(&user, "words");
    expect_read(peer, "");
    vm_stop(vm, RUN_STATE_PAUSED);
    expect_read(peer, "last words");
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "last words");
    user_end(&user);
    end(vm);
    close(peer);
}

/* ---- borrowed output ------------------------------------------------------------------ */

typedef struct Borrower {
    User user;
    CharOutput output;
    unsigned returned;
} Borrower;

/* The descriptor is there as long as it is borrowed. */
static void give_back(void *opaque)
{
    Borrower *b = opaque;

    g_assert_cmpint(fcntl(b->output.fd, F_GETFD), >=, 0);
    b->returned++;
    charport_return_output(b->user.port);
}

static const CharPortOps borrower_ops = {.can_receive = user_can_receive, .receive = user_receive, .event = user_event,
                                         .return_output = give_back};

static void borrower_start(Borrower *b, Vm *vm)
{
    user_start(&b->user, vm, "c");
    b->returned = 0;
    charport_set_ops(b->user.port, &borrower_ops, b);
}

static bool borrow(Borrower *b) { return charport_borrow_output(b->user.port, &b->output); }

static ssize_t write_output(const Borrower *b, const char *first, const char *second)
{
    const struct iovec pieces[] = {{(void *)(uintptr_t)first, strlen(first)}, {(void *)(uintptr_t)second, strlen(second)}};

    return char_output_write(&b->output, pieces, 2);
}

static void test_borrowed(void)
{
    g_autofree char *block = g_strnfill(64 * KIB, 'x');
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    Borrower b;

    borrower_start(&b, vm);
    out_text(&b.user, "queued ");
    g_assert_false(borrow(&b));
    settle(vm);
    g_assert_true(borrow(&b));
    g_assert_cmpint(write_output(&b, "pie", "ces "), ==, 7);
    out_text(&b.user, "and queued");
    g_assert_cmpuint(b.returned, ==, 1);
    settle(vm);
    expect_read(peer, "queued pieces and queued");
    g_assert_true(borrow(&b));
    while (write_output(&b, block, "") > 0) {
    }
    g_assert_cmpint(errno, ==, EAGAIN);
    close(peer);
    wait_for(vm, &b.user.closed, 1);
    g_assert_cmpuint(b.returned, ==, 2);
    g_assert_false(borrow(&b));
    user_end(&b.user);
    end(vm);
}

static void made(void *opaque, const char *id, char *pty, GError *err)
{
    g_assert_no_error(err);
    g_free(pty);
    (*(unsigned *)opaque)++;
}

/* By who changes the device below, and by who lets it go. */
static void test_borrowed_and_changed(void)
{
    g_autofree char *fifo = in_dir("borrowed"), *text = g_strdup_printf("pipe,path=%s", fifo);
    unsigned done = 0;
    int peer, reader;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    Borrower b;

    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    borrower_start(&b, vm);
    g_assert_true(borrow(&b));
    chardev_change_text(vm, "c", text, made, &done);
    wait_for(vm, &done, 1);
    g_assert_cmpuint(b.returned, ==, 1);
    reader = open(fifo, O_RDONLY | O_NONBLOCK);
    g_assert_true(borrow(&b));
    g_assert_cmpint(write_output(&b, "through ", "a FIFO"), ==, 14);
    expect_read(reader, "through a FIFO");
    user_end(&b.user);
    g_assert_cmpuint(b.returned, ==, 2);
    end(vm);
    close(peer);
    close(reader);
}

static void expect_not_borrowed(Vm *vm)
{
    Borrower b;

    borrower_start(&b, vm);
    g_assert_false(borrow(&b));
    user_end(&b.user);
    end(vm);
}

/* A file, whose disk may be slow; what has a log; packets; layers; memory. */
static void test_not_borrowed(void)
{
    g_autofree char *path = in_dir("not-borrowed"), *file = g_strdup_printf("file,id=c,path=%s", path),
                    *log = g_strdup_printf(",logfile=%s", path);
    int peer;

    expect_not_borrowed(start(file));
    expect_not_borrowed(start("ringbuf,id=c,size=1024"));
    expect_not_borrowed(start("null,id=c"));
    expect_not_borrowed(start_pair(SOCK_STREAM, log, &peer));
    close(peer);
    expect_not_borrowed(start_pair(SOCK_SEQPACKET, "", &peer));
    close(peer);
    expect_not_borrowed(start_pair(SOCK_STREAM, ",telnet=on", &peer));
    close(peer);
}

/* ---- borrowed input ------------------------------------------------------------------- */

typedef struct Reader {
    User user;
    CharInput input;
    unsigned returned;
} Reader;

static void return_input(void *opaque)
{
    Reader *r = opaque;

    g_assert_cmpint(fcntl(r->input.fd, F_GETFD), >=, 0);
    r->returned++;
    charport_return_input(r->user.port, &r->input);
}

static const CharPortOps reader_ops = {.can_receive = user_can_receive, .receive = user_receive, .event = user_event,
                                       .return_input = return_input};

static void expect_input(const Reader *r, const char *text)
{
    char first[2], rest[100];
    const struct iovec pieces[] = {{first, sizeof first}, {rest, sizeof rest}};
    g_autofree char *got = NULL;
    ssize_t n = char_input_read(&r->input, pieces, 2);

    g_assert_cmpint(n, ==, (ssize_t)strlen(text));
    got = g_strdup_printf("%.2s%.*s", first, (int)n - 2, rest);
    g_assert_cmpstr(got, ==, text);
}

/* All that comes goes to the borrower until it gives the input back; the end is the main loop's to see. */
static void test_borrowed_input(void)
{
    int peer;
    Vm *vm = start_pair(SOCK_STREAM, "", &peer);
    struct iovec none = {&peer, sizeof peer};
    Reader r;

    user_start(&r.user, vm, "c");
    r.returned = 0;
    charport_set_ops(r.user.port, &reader_ops, &r);
    g_assert_true(charport_borrow_input(r.user.port, &r.input));
    g_assert_cmpint(write(peer, "to the thread", 13), ==, 13);
    settle(vm);
    g_assert_cmpuint(r.user.got->len, ==, 0);
    expect_input(&r, "to the thread");
    g_assert_cmpint(char_input_read(&r.input, &none, 1), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
    charport_return_input(r.user.port, &r.input);
    charport_accept_input(r.user.port);
    g_assert_cmpint(write(peer, "to the main loop", 16), ==, 16);
    settle(vm);
    g_assert_cmpstr(r.user.got->str, ==, "to the main loop");
    g_assert_true(charport_borrow_input(r.user.port, &r.input));
    g_assert_cmpint(write(peer, "the last", 8), ==, 8);
    close(peer);
    settle(vm);
    g_assert_cmpuint(r.user.closed, ==, 0);
    expect_input(&r, "the last");
    g_assert_cmpint(char_input_read(&r.input, &none, 1), ==, 0);
    charport_return_input(r.user.port, &r.input);
    charport_accept_input(r.user.port);
    wait_for(vm, &r.user.closed, 1);
    g_assert_cmpuint(r.returned, ==, 0);
    g_assert_false(charport_borrow_input(r.user.port, &r.input));
    user_end(&r.user);
    end(vm);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev-flow/burst-is-one-write", test_burst_is_one_write);
    g_test_add_func("/chardev-flow/slow-peer", test_slow_peer);
    g_test_add_func("/chardev-flow/peer-that-never-reads", test_peer_that_never_reads);
    g_test_add_func("/chardev-flow/peer-dies", test_peer_dies);
    g_test_add_func("/chardev-flow/peer-dies-while-paused", test_peer_dies_while_paused);
    g_test_add_func("/chardev-flow/writes-of-a-vcpu", test_writes_of_a_vcpu);
    g_test_add_func("/chardev-flow/lone-byte", test_lone_byte);
    g_test_add_func("/chardev-flow/bursts", test_bursts_that_are_polled_out);
    g_test_add_func("/chardev-flow/urgent", test_urgent_output_ends_a_burst);
    g_test_add_func("/chardev-flow/stop", test_stop_writes_what_waits);
    g_test_add_func("/chardev-flow/borrowed", test_borrowed);
    g_test_add_func("/chardev-flow/borrowed-and-changed", test_borrowed_and_changed);
    g_test_add_func("/chardev-flow/not-borrowed", test_not_borrowed);
    g_test_add_func("/chardev-flow/borrowed-input", test_borrowed_input);
    return run_in_scratch();
}
