/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The commands of qemu-io on one node: of kiln-io and of the monitor's "qemu-io". Lines are words between
 * blanks; there are no quotes. What commands print and how they end is what qemu-io 7.2 was seen to do.
 * Not done: -i of aio_read and aio_write (Kiln counts no invalid requests).
 *
 * Main thread, VM lock held; the node may belong to an iothread.
 */
#ifndef BLOCK_IO_SHELL_H
#define BLOCK_IO_SHELL_H

#include <inttypes.h>
#include <stdio.h>

#include "block/block_int.h"

typedef struct IoShell IoShell;

/* argv[0] is the name; 0 or -errno, after it has been said. */
typedef int IoRun(IoShell *s, int argc, char **argv);

typedef struct IoCommand {
    const char *name, *alias, *args, *help;
    int min, max;  /* arguments; max -1: any number */
    bool closed;   /* works without an image */
    bool writes;   /* refused on a read-only node */
    bool resizes;  /* changes the size, too */
    IoRun *run;
    const char *details; /* what "help NAME" says of the options, whole lines; NULL: nothing */
} IoCommand;

struct IoShell {
    Vm *vm;
    BlockNode *node;    /* NULL: no image is open */
    bool write_through; /* writes end on stable storage */
    const char *program; /* "kiln-io", before errors; NULL: nothing */
    FILE *out, *err;    /* results; errors. aio_* report to stdout when they end. */
    const IoCommand *more; /* the program's own commands, ended by {}; NULL: none */
    BlockBackend *blk;  /* through which the node is used: gets the permissions that commands need */
    void *opaque;       /* the program's */
    bool quit;          /* no further line, please */
};

/* Runs one line (it is cut into words); 0 or -errno. Nothing for an empty one. */
int io_shell_run(IoShell *s, const char *line);
/* Waits until the node's aio_* have ended. */
void io_shell_wait(IoShell *s);
/* "PROGRAM: message" to s->err. */
void io_shell_error(IoShell *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The usage line of a command, after arguments that it does not know; returns -EINVAL. */
int io_shell_usage(IoShell *s, const char *name);
/* For getopt's '?' : says which letter, then the usage. */
int io_shell_bad_option(IoShell *s, const char *name);
/* -c of reopen, -t of open: "none", "writeback", ...; direct, no_flush and write_through from it.
 * False: no such mode. */
bool io_shell_cache_mode(const char *name, bool *direct, bool *no_flush, bool *write_through);

/* Lets s->blk use these BLOCK_PERM_* beside those in keep. False: said so. */
bool io_shell_use(IoShell *s, uint32_t keep, uint32_t more);

/* ---- for the commands themselves --------------------------------------------------------------- */

extern const IoCommand io_image_commands[], io_transfer_commands[]; /* each ends with {} */
/* "64k" and the like, or -1 and the message is out. */
int64_t io_parse_number(IoShell *s, const char *text);
/* "1.500 MiB", "64 bytes". The caller frees. */
char *io_size_text(double value);

#endif
