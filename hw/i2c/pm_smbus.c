/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The PIIX4's SMBus host. Datasheet: Intel 82371AB (290562), 7.3; the block buffer register as in
 * the ICH. A transaction is done at once, when it is started or, if the guest polls, at its first
 * look at the status: some firmware waits to see HOST_BUSY first.
 *
 * Protocols that the PIIX4 reserves (process call, I2C read and others) end with a device error.
 * Not done: interrupts of the host (QEMU's pc has none either), the slave interface, SMBALERT.
 */
#include "hw/i2c/pm_smbus.h"

#include "util/trace.h"

#define REG_HST_STS 0x00
#define REG_HST_CNT 0x02
#define REG_HST_CMD 0x03
#define REG_HST_ADD 0x04
#define REG_HST_DAT0 0x05
#define REG_HST_DAT1 0x06
#define REG_BLK_DAT 0x07
#define REG_AUX_CTL 0x0d

#define STS_HOST_BUSY 0x01
#define STS_INTR 0x02
#define STS_DEV_ERR 0x04
#define STS_FAILED 0x10
#define STS_CLEARABLE 0xfe

#define CNT_INTREN 0x01
#define CNT_KILL 0x02
#define CNT_PROTOCOL(cnt) (((cnt) >> 2) & 7)
#define CNT_START 0x40

#define AUX_BLOCK_BUFFER 0x02
#define AUX_WRITABLE 0x03

enum { PROT_QUICK, PROT_BYTE, PROT_BYTE_DATA, PROT_WORD_DATA, PROT_PROC_CALL, PROT_BLOCK };

/* ---- transactions ------------------------------------------------------------------------ */

static bool do_write(PmSmbus *smb, I2cDevice *dev, const SmbusOps *ops, unsigned protocol)
{
    uint8_t buf[SMBUS_BLOCK_MAX + 2] = {smb->smb_cmd, smb->smb_data0, smb->smb_data1};
    unsigned len;

    switch (protocol) {
    case PROT_QUICK:
        return true;
    case PROT_BYTE:
        len = 1;
        break;
    case PROT_BYTE_DATA:
        len = 2;
        break;
    case PROT_WORD_DATA:
        len = 3;
        break;
    case PROT_BLOCK:
        if (smb->smb_data0 == 0 || smb->smb_data0 > SMBUS_BLOCK_MAX) {
            return false;
        }
        memcpy(buf + 2, smb->smb_data, smb->smb_data0); /* byte 1 is the count */
        len = 2 + smb->smb_data0;
        break;
    default:
        return false;
    }
    ops->write(dev, buf, len);
    return true;
}

static bool read_block(PmSmbus *smb, I2cDevice *dev, const SmbusOps *ops)
{
    unsigned count = ops->read(dev);

    if (count > SMBUS_BLOCK_MAX) {
        count = 0; /* as QEMU 7.2: no bytes, no error */
    }
    for (unsigned i = 0; i < count; i++) {
        smb->smb_data[i] = ops->read(dev);
    }
    smb->smb_data0 = count;
    smb->smb_index = 0;
    return true;
}

static bool do_read(PmSmbus *smb, I2cDevice *dev, const SmbusOps *ops, unsigned protocol)
{
    if (protocol == PROT_BYTE_DATA || protocol == PROT_WORD_DATA || protocol == PROT_BLOCK) {
        ops->write(dev, &smb->smb_cmd, 1);
    }
    switch (protocol) {
    case PROT_QUICK:
        return true;
    case PROT_BYTE:
    case PROT_BYTE_DATA:
        smb->smb_data0 = ops->read(dev);
        return true;
    case PROT_WORD_DATA:
        smb->smb_data0 = ops->read(dev);
        smb->smb_data1 = ops->read(dev);
        return true;
    case PROT_BLOCK:
        return read_block(smb, dev, ops);
    default:
        return false;
    }
}

static void run_transaction(PmSmbus *smb)
{
    I2cDevice *dev = i2c_find(smb->bus, smb->smb_addr >> 1);
    const SmbusOps *ops = dev ? type_ops(dev->dev.obj.type) : NULL;
    unsigned protocol = CNT_PROTOCOL(smb->smb_ctl);
    bool is_read = smb->smb_addr & 1, ok = false;

    if (ops) {
        ok = is_read ? do_read(smb, dev, ops, protocol) : do_write(smb, dev, ops, protocol);
    }
    trace(smbus_transaction, "address 0x%02x %s protocol %u command 0x%02x: %s", smb->smb_addr >> 1,
          is_read ? "read" : "write", protocol, smb->smb_cmd, ok ? "done" : "no answer");
    smb->smb_stat &= ~STS_HOST_BUSY;
    smb->smb_stat |= ok ? STS_INTR : STS_DEV_ERR;
    smb->start_transaction_on_status_read = false;
}

/* ---- registers ------------------------------------------------------------------------------ */

static void write_control(PmSmbus *smb, uint8_t value)
{
    smb->smb_ctl = value & ~CNT_START; /* reads as 0 */
    if (value & CNT_KILL) {
        smb->start_transaction_on_status_read = false;
        smb->smb_stat = (smb->smb_stat & ~STS_HOST_BUSY) | STS_FAILED;
        return;
    }
    if (!(value & CNT_START) || (smb->smb_stat & STS_HOST_BUSY)) {
        return;
    }
    if (value & CNT_INTREN) {
        run_transaction(smb);
    } else {
        smb->smb_stat |= STS_HOST_BUSY;
        smb->start_transaction_on_status_read = true;
    }
}

static void smb_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PmSmbus *smb = opaque;

    trace(pm_smbus_write, "@0x%02x <- 0x%02x", (unsigned)offset, (unsigned)value);
    switch (offset) {
    case REG_HST_STS:
        smb->smb_stat &= ~(value & STS_CLEARABLE);
        break;
    case REG_HST_CNT:
        write_control(smb, value);
        break;
    case REG_HST_CMD:
        smb->smb_cmd = value;
        break;
    case REG_HST_ADD:
        smb->smb_addr = value;
        break;
    case REG_HST_DAT0:
        smb->smb_data0 = value;
        break;
    case REG_HST_DAT1:
        smb->smb_data1 = value;
        break;
    case REG_BLK_DAT:
        smb->smb_data[smb->smb_index % SMBUS_BLOCK_MAX] = value;
        smb->smb_index = (smb->smb_index + 1) % SMBUS_BLOCK_MAX;
        break;
    case REG_AUX_CTL:
        smb->smb_auxctl = value & AUX_WRITABLE;
        break;
    default:
        break;
    }
}

static uint8_t read_status(PmSmbus *smb)
{
    uint8_t status = smb->smb_stat;

    if (smb->start_transaction_on_status_read) {
        run_transaction(smb); /* seen busy once, done at the next look */
    }
    return status;
}

static uint64_t smb_read(void *opaque, uint64_t offset, unsigned size)
{
    PmSmbus *smb = opaque;
    uint8_t value = 0;

    switch (offset) {
    case REG_HST_STS:
        value = read_status(smb);
        break;
    case REG_HST_CNT:
        smb->smb_index = 0; /* a read rewinds the block buffer */
        value = smb->smb_ctl;
        break;
    case REG_HST_CMD:
        value = smb->smb_cmd;
        break;
    case REG_HST_ADD:
        value = smb->smb_addr;
        break;
    case REG_HST_DAT0:
        value = smb->smb_data0;
        break;
    case REG_HST_DAT1:
        value = smb->smb_data1;
        break;
    case REG_BLK_DAT:
        value = smb->smb_data[smb->smb_index % SMBUS_BLOCK_MAX];
        smb->smb_index = (smb->smb_index + 1) % SMBUS_BLOCK_MAX;
        break;
    case REG_AUX_CTL:
        value = smb->smb_auxctl;
        break;
    default:
        break;
    }
    trace(pm_smbus_read, "@0x%02x -> 0x%02x", (unsigned)offset, value);
    return value;
}

static const RegionOps smb_ops = {
    .read = smb_read,
    .write = smb_write,
    .valid = {.min_size = 1, .max_size = 1},
};

/* ---- lifecycle ------------------------------------------------------------------------------- */

void pm_smbus_init(PmSmbus *smb, Vm *vm, Device *owner)
{
    smb->bus = i2c_bus_new(vm, owner, "i2c");
    smb->op_done = true;
    smb->smb_auxctl = AUX_BLOCK_BUFFER;
    region_init_io(&smb->io, &smb_ops, smb, "pm-smbus", PM_SMBUS_PORTS);
    region_set_owner(&smb->io, owner);
}

void pm_smbus_cleanup(PmSmbus *smb)
{
    i2c_bus_cleanup(smb->bus);
    region_destroy(&smb->io);
}

void pm_smbus_reset(PmSmbus *smb)
{
    smb->op_done = true;
    smb->smb_index = 0;
    smb->smb_stat = 0;
    smb->start_transaction_on_status_read = false;
}

static const StateField smb_fields[] = {
    STATE_U8(PmSmbus, smb_stat),
    STATE_U8(PmSmbus, smb_ctl),
    STATE_U8(PmSmbus, smb_cmd),
    STATE_U8(PmSmbus, smb_addr),
    STATE_U8(PmSmbus, smb_data0),
    STATE_U8(PmSmbus, smb_data1),
    STATE_U32(PmSmbus, smb_index, .max = SMBUS_BLOCK_MAX),
    STATE_ARRAY(PmSmbus, smb_data, u8, SMBUS_BLOCK_MAX),
    STATE_U8(PmSmbus, smb_auxctl),
    STATE_U8(PmSmbus, smb_blkdata),
    STATE_BOOL(PmSmbus, i2c_enable),
    STATE_BOOL(PmSmbus, op_done),
    STATE_BOOL(PmSmbus, in_i2c_block_read),
    STATE_BOOL(PmSmbus, start_transaction_on_status_read),
    {}
};
const StateDesc pm_smbus_state = {.name = "pmsmb", .version = 1, .min_version = 1,
                                  .fields = smb_fields};
