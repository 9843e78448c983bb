/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kiln-system-x86_64: reads the command line, builds the VM, runs it. */
#include <json-c/json.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <urcu-bp.h>

#include "accel/accel.h"
#include "block/block.h"
#include "chardev/char.h"
#include "monitor/monitor.h"
#include "net/net.h"
#include "system/config_check.h"
#include "system/daemon.h"
#include "system/startup.h"
#include "util/log.h"
#include "util/pidfile.h"

extern const char qmp_schema_text[]; /* made from the tables when the program is built */

static int fail(GError *err)
{
    g_autofree char *text = error_with_way_out(err);

    chardev_restore_tty();
    report_error("%s", text);
    pidfile_remove();
    return 1;
}

/* What was begun is taken back: sockets' paths and the pid file do not stay. A start that a signal
 * ended is no failure. */
static int fail_vm(Vm *vm, GError *err)
{
    bool ended = vm_end_requested(vm);

    /* Said before the monitors close: their clients then look for the reason. */
    int status = ended ? 0 : fail(err);
    monitor_cleanup(vm);
    net_cleanup(vm);
    chardev_keep_listening(vm);
    chardev_cleanup(vm);
    chardev_restore_tty();
    pidfile_remove();
    return status;
}

/* ---- signals --------------------------------------------------------------------------------- */

typedef struct Signals {
    Vm *vm;
    int fd;
    LoopFd *source;
} Signals;

static void on_signal(void *opaque, uint32_t events)
{
    Signals *s = opaque;
    struct signalfd_siginfo info;

    while (read(s->fd, &info, sizeof info) == sizeof info) {
        if (!s->vm->qtest) {
            if (info.ssi_pid) {
                report_error("terminating on signal %u from pid %u", info.ssi_signo, info.ssi_pid);
            } else {
                report_error("terminating on signal %u", info.ssi_signo);
            }
        }
        vm_request_shutdown(s->vm, SHUTDOWN_CAUSE_HOST_SIGNAL);
    }
}

/* SIGTERM, SIGINT and SIGHUP end the VM with status 0. Blocked before any thread exists. */
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the limit of file sizes fails with EFBIG: werror decides */
}

static void watch_signals(Signals *s, Vm *vm, const sigset_t *set)
{
    s->vm = vm;
    s->fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->source = loop_fd_add(vm->loop, s->fd, EPOLLIN, on_signal, s);
}

/* ---- running ------------------------------------------------------------------------------------ */

static int print_state(Vm *vm)
{
    json_object *json = state_describe_vm(vm);

    puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY));
    json_object_put(json);
    return 0;
}

static int finish(Vm *vm, int status)
{
    vm->accel->ops->shutdown(vm->accel);
    blk_cleanup(vm);
    monitor_cleanup(vm);
    net_cleanup(vm);
    chardev_cleanup(vm);
    chardev_restore_tty();
    pidfile_remove();
    /* The address space, device structs and KVM's fds go with the process: freeing them one by one
     * would only delay the end. */
    fflush(NULL);
    return status;
}

/* CPUs and workers always have names; this thread liburcu made. */
static void name_threads(void)
{
    pthread_setname_np(get_call_rcu_thread(get_default_call_rcu_data()), "call_rcu");
}

static int run(Vm *vm, Config *config)
{
    GError *err = NULL;

    if (config->print_state) {
        return finish(vm, print_state(vm));
    }
    if (config->debug_threads) {
        name_threads();
    }
    if ((config->run_as && !run_as(config->run_as, &err)) || (vm->autostart && !vm_start(vm, &err)) ||
        !daemonize_ready(&err)) {
        return fail_vm(vm, err);
    }
    return finish(vm, vm_main_loop(vm));
}

static void apply_process_options(const Config *config)
{
    log_set_prefix(config->msg_timestamp, config->msg_guest_name ? config->name : NULL);
    if (config->process_name) {
        prctl(PR_SET_NAME, config->process_name);
    }
}

int main(int argc, char **argv)
{
    /* They live as long as the process, beyond this frame. */
    static Config *config;
    static Signals watcher;
    GError *err = NULL;
    sigset_t signals;
    const char *slash = strrchr(argv[0], '/');

    mallopt(M_ARENA_MAX, 1); /* one heap: the paths that are hot do not allocate, and idle arenas cost memory */
    config = config_new();
    log_set_program(slash ? slash + 1 : argv[0]);
    if (!config_parse(config, argc, argv, &err)) {
        return fail(err);
    }
    if (config->mistakes) {
        return config_check(config);
    }
    if (config->helped) {
        return 0;
    }
    apply_process_options(config);
    if (!config_check_combinations(config, &err) || (config->daemonize && !daemonize_begin(&err))) {
        return fail(err);
    }
    block_signals(&signals);
    if ((config->pidfile && !pidfile_create("-pidfile", config->pidfile, &err)) || (config->mem_lock && !lock_memory(&err))) {
        return fail(err);
    }
    Vm *vm = vm_new(&err);
    if (!vm) {
        return fail(err);
    }
    monitor_set_schema_text(vm, qmp_schema_text);
    watch_signals(&watcher, vm, &signals);
    return vm_build(vm, config, &err) ? run(vm, config) : fail_vm(vm, err);
}
