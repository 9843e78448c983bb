/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a long command is: on the terminal with -p, else to stderr whenever SIGUSR1 comes. */
#include <signal.h>

#include "img/img.h"

static struct {
    bool enabled;
    double shown, at; /* percent */
} progress;
static volatile sig_atomic_t asked;

static void on_usr1(int number)
{
    (void)number;
    asked = 1;
}

static void print_progress(void)
{
    printf("    (%3.2f/100%%)\r", progress.at);
    fflush(stdout);
    progress.shown = progress.at;
}

void img_progress_start(bool enabled)
{
    struct sigaction action = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    sigset_t set;

    progress.enabled = enabled;
    progress.at = progress.shown = 0;
    sigaction(SIGUSR1, &action, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (enabled) {
        print_progress();
    }
}

void img_progress(uint64_t done, uint64_t total)
{
    progress.at = total ? 100.0 * (double)done / (double)total : 100;
    if (asked) {
        asked = 0;
        if (!progress.enabled) {
            fprintf(stderr, "    (%3.2f/100%%)\n", progress.at);
        }
    }
    if (progress.enabled && (progress.at >= progress.shown + 1 || progress.at >= 100)) {
        print_progress();
    }
}

void img_progress_end(void)
{
    if (progress.enabled) {
        if (progress.at > progress.shown) {
            print_progress();
        }
        putchar('\n');
    }
    progress.enabled = false;
}
