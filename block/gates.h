/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Gates: ways into a back end from the loops of further iothreads, for devices whose queues run in several.
 *
 *   queue 0 --- blk_readv ------------------------------> owner's loop --+
 *   queue 1 --- blk_gate_readv --- gate (its own loop) --+               +--> nodes --> engine of that loop
 *                                                        +- straight ----+
 *                                                        +- as a message to the owner, and back
 *
 * A request enters in the gate's loop and ends there. While all nodes below the back end take requests in any loop
 * (BlockDriver.any_loop) and nothing looks at what passes (bitmaps, limits, thresholds), it goes straight into them with the
 * engines of the gate's loop. Else the owner does it: messages go both ways in batches. Which of the two holds is decided
 * by the owner at the end of each drained section, and nothing else changes it, so it never changes under a request.
 *
 * Home: a device of the main loop on nodes that an iothread owns submits through a gate of the main loop, made when first it is
 * needed (blk_attach, blk_set_loop, media); it knows nothing of that, and blk_readv and so on choose it. It never goes straight:
 * the main loop's engines are used under the VM lock only. Who waits for an iothread under that lock serves the gate meanwhile.
 *
 * A drained section covers gates: the owner tells them to start nothing more (what devices submit is kept), waits until
 * each has answered, by then all that it handed over has arrived; then until each has nothing in flight. A gate's thread
 * answers from its loop, also while it is itself inside a wait of the block layer, and never waits for an owner.
 */
#ifndef BLOCK_GATES_H
#define BLOCK_GATES_H

#include "block/block.h"

typedef struct BlkGate BlkGate;

/* blk's gate from this loop, which is an iothread's and runs; made when it is first asked for. blk has a device, and its
 * loop is another one. The gate is blk's and goes when the device is detached. NULL with *err. Main thread, VM lock. */
BlkGate *blk_gate(BlockBackend *blk, Loop *loop, GError **err);
/* Would gates of blk go straight into its nodes, as they are now? Main thread, VM lock. */
bool blk_any_loop(BlockBackend *blk);

/* As blk_readv and so on, in the gate's loop; done runs there too, never inside the call. gate NULL: in blk's own. */
BlkRequest *blk_gate_readv(BlockBackend *blk, BlkGate *gate, uint64_t offset, const struct iovec *iov, unsigned count,
                           BlkDone *done, void *opaque);
BlkRequest *blk_gate_writev(BlockBackend *blk, BlkGate *gate, uint64_t offset, const struct iovec *iov, unsigned count,
                            BlkDone *done, void *opaque);
BlkRequest *blk_gate_flush(BlockBackend *blk, BlkGate *gate, BlkDone *done, void *opaque);
BlkRequest *blk_gate_discard(BlockBackend *blk, BlkGate *gate, uint64_t offset, uint64_t len, BlkDone *done, void *opaque);
BlkRequest *blk_gate_write_zeroes(BlockBackend *blk, BlkGate *gate, uint64_t offset, uint64_t len, bool may_unmap,
                                  BlkDone *done, void *opaque);
/* As blk_cancel: in the gate's loop, of a request that has not ended. While a drained section keeps it, it stays. */
void blk_gate_cancel(BlkRequest *request);
void blk_gate_count_invalid(BlockBackend *blk, BlkGate *gate, BlkStatKind kind);
void blk_gate_plug(BlockBackend *blk, BlkGate *gate);
void blk_gate_unplug(BlockBackend *blk, BlkGate *gate);

#endif
