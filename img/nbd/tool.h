/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside kiln-nbd: the kernel's NBD devices (/dev/nbdN). */
#ifndef IMG_NBD_TOOL_H
#define IMG_NBD_TOOL_H

#include "nbd/server.h"

typedef struct NbdKernelDevice NbdKernelDevice;

typedef enum NbdKernelState {
    NBD_KERNEL_CONNECTING,
    NBD_KERNEL_CONNECTED, /* its size is there, and so are its partitions */
    NBD_KERNEL_GONE,      /* disconnected by whomever, or it never was connected */
} NbdKernelState;

/* Connects the device to this server's export (whose loop must run for that); whoever opens the device is then
 * served. When somebody disconnects the device, its client leaves the server. NULL with *err. */
NbdKernelDevice *nbd_kernel_connect(NbdServer *server, Loop *loop, const char *path, const char *export, GError **err);
/* The loop is kicked when it changes. */
NbdKernelState nbd_kernel_state(const NbdKernelDevice *device);
/* True and *err: why it is gone, if that was no disconnecting. */
bool nbd_kernel_error(NbdKernelDevice *device, GError **err);
/* Begins to write out what the kernel holds and then to disconnect; the loop must run until it is gone. */
void nbd_kernel_disconnect(NbdKernelDevice *device);
/* Disconnects at once: the device's users get errors. Nothing is left running. NULL is fine. */
void nbd_kernel_cut(NbdKernelDevice *device);
/* Cuts, and lets those go on who wait for the image (nbd_kernel_clear): to be called when it is closed. NULL is fine. */
void nbd_kernel_free(NbdKernelDevice *device);
/* -d: frees a device, whoever had connected it, and waits until a kiln-nbd that served it has closed its image. */
bool nbd_kernel_clear(const char *path, GError **err);

#endif
