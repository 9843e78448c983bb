/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside kiln-nbd: the kernel's NBD devices (/dev/nbdN). */
#ifndef IMG_NBD_TOOL_H
#define IMG_NBD_TOOL_H

#include "nbd/server.h"

typedef struct NbdKernelDevice NbdKernelDevice;

/* Connects the device to this server's export; whoever opens the device is then served. When somebody
 * disconnects the device, its client leaves the server. NULL with *err. */
NbdKernelDevice *nbd_kernel_connect(NbdServer *server, const char *path, const char *export, GError **err);
/* NULL is fine. */
void nbd_kernel_disconnect(NbdKernelDevice *device);
/* -d: frees a device, whoever had connected it. */
bool nbd_kernel_clear(const char *path, GError **err);

#endif
