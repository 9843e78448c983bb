/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dirty logging for tests: what devices wrote, page by page. VM lock. */
#ifndef SYSTEM_QTEST_DIRTY_H
#define SYSTEM_QTEST_DIRTY_H

#include "core/vm.h"

/* For all RAM that the guest sees now. Earlier writes are forgotten. */
void qtest_set_dirty_log(Vm *vm, bool on);
/* "0x1000 0x2000": addresses of the pages that were written since the last call, ascending. A page
 * that stands at several addresses is told at the first. The caller frees. */
char *qtest_take_dirty_pages(Vm *vm);

#endif
