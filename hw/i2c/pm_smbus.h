/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The SMBus host controller of the PIIX4 and its successors: 64 ports. */
#ifndef HW_I2C_PM_SMBUS_H
#define HW_I2C_PM_SMBUS_H

#include "hw/i2c/i2c.h"

#define PM_SMBUS_PORTS 64

typedef struct PmSmbus {
    I2cBus *bus;
    Region io;
    uint8_t smb_stat, smb_ctl, smb_cmd, smb_addr, smb_data0, smb_data1;
    uint32_t smb_index;                     /* in smb_data */
    uint8_t smb_data[SMBUS_BLOCK_MAX];
    uint8_t smb_auxctl, smb_blkdata;
    bool i2c_enable, op_done, in_i2c_block_read; /* wire only: the ICH's byte-wise transfers */
    bool start_transaction_on_status_read;
} PmSmbus;

extern const StateDesc pm_smbus_state;  /* "pmsmb" version 1 */

/* Bus "i2c" and the ports, which the owner maps. */
void pm_smbus_init(PmSmbus *smb, Vm *vm, Device *owner);
void pm_smbus_cleanup(PmSmbus *smb);
void pm_smbus_reset(PmSmbus *smb);

#endif
