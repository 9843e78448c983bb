/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "util/size_text.h"

char *size_text(uint64_t bytes)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    double value = (double)bytes;
    unsigned unit = 0;
    char digits[G_ASCII_DTOSTR_BUF_SIZE];

    /* Three significant digits: what rounds to 1000 would be written with an exponent. */
    while (value >= 999.5 && unit + 1 < G_N_ELEMENTS(units)) {
        value /= 1024;
        unit++;
    }
    return g_strdup_printf("%s %sB", g_ascii_formatd(digits, sizeof digits, "%0.3g", value),
                           units[unit]);
}
